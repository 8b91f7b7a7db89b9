// Next-sentence prediction finds out what it must: of synthetic documents, each of which has three words of its own, a
// small BERT learns to tell whether the second of two pieces follows the first, and tells it of documents that it has
// not seen. Fails below .95, or when the first loss is not about ln V + ln 2. Prints a table. A minute and a half of a
// core.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <thread>

#include "core/config/config.h"
#include "core/objective/next_sentence.h"
#include "core/optim/schedule.h"
#include "core/train/engine.h"

namespace tsugi {
namespace {

constexpr int64_t kWords = 32;
constexpr int64_t kWordsOfDocument = 3;
constexpr int64_t kWordsLength = 87;  // of a document
constexpr int32_t kFullStop = 4;      // behind padding, [CLS], [SEP] and [MASK]
constexpr int32_t kFirstWord = 5;
constexpr uint64_t kSentence = 7;  // words and a full stop

/// Documents of sentences of words drawn from a few that are drawn for each.
TokenFile write_documents(const std::string& path, int64_t documents, uint64_t seed) {
  TokenFileWriter writer(path, kFirstWord + kWords);
  for (int64_t d = 0; d < documents; ++d) {
    const RandomStream stream{seed, static_cast<uint64_t>(d), 1};
    std::vector<int32_t> tokens;
    for (uint64_t t = 0; t < kWordsLength; ++t) {
      if (t % kSentence == kSentence - 1) {
        tokens.push_back(kFullStop);
        continue;
      }
      const uint32_t word = stream.word(stream.word(1000 + t) % kWordsOfDocument);
      tokens.push_back(kFirstWord + static_cast<int32_t>(word % kWords));
    }
    writer.add_document(tokens);
  }
  writer.finish();
  return TokenFile::open(path);
}

int run(const std::string& folder) {
  RunConfig config;
  parse_config(R"(steps: 4500 seed: 7 data { train: "documents" }
    model { family: BERT pooler: true next_sentence_head: true layers: 2 heads: 4 width: 64 context: 32 vocabulary: 37 }
    objective { masked_lm { next_sentence: true mask_token: 3 cls_token: 1 sep_token: 2 } }
    batch { micro_batch: 32 micro_batches: 1 }
    optimizer { learning_rate: 3e-3 beta2: 0.98 weight_decay: 0.01 }
    schedule { kind: LINEAR warmup_steps: 100 final_fraction: 0.05 })",
               "program", {}, config);
  validate_run(config);
  const Masking masking{.probability = 0.15,
                        .mask_share = 0.8,
                        .random_share = 0.1,
                        .mask_token = 3,
                        .vocabulary = config.model().vocabulary(),
                        .special = {1, 2, 3}};
  NextSentence objective(write_documents(folder + "/train.bin", 20000, 1),
                         write_documents(folder + "/held.bin", 200, 2), config.batch().sequence(), config.seed(),
                         masking, {.short_share = 0.0, .cls_token = 1, .sep_token = 2, .sentence_ends = {kFullStop}});
  ThreadPool pool(static_cast<int>(std::max<unsigned>(1, std::thread::hardware_concurrency())));
  const std::unique_ptr<Communicator> alone = make_local_communicator();
  Engine engine(pool, *alone, config, objective, {});
  engine.optimizer().initialize(config.seed());
  double first = 0.0;
  double accuracy = 0.0;
  std::cout << "|  step  loss of both   pairs told apart, of unseen documents (asked: .95)\n";
  for (int64_t step = 0; step < config.steps(); ++step) {
    const StepReport report =
        engine.step(step + 1, static_cast<uint64_t>(step * engine.samples_per_step()),
                    learning_rate_at(config.optimizer(), config.schedule(), config.steps(), step));
    if (step == 0) first = report.loss;
    if ((step + 1) % 500 != 0) continue;
    const EvaluationReport seen = engine.evaluate();
    accuracy = seen.scores.front().second;
    std::cout << "| " << std::setw(5) << step + 1 << std::fixed << std::setprecision(4) << std::setw(14) << seen.loss
              << std::setw(19) << accuracy << std::endl;
  }
  const double expected = std::log(static_cast<double>(config.model().vocabulary())) + std::log(2.0);
  std::cout << "loss of the first step " << first << ", ln V + ln 2 is " << expected << "\n";
  if (std::abs(first - expected) > 0.1) return std::cout << "FAILED: the first loss\n", EXIT_FAILURE;
  if (accuracy <= 0.95) return std::cout << "FAILED: no more than .95 are told apart\n", EXIT_FAILURE;
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace tsugi

int main() {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("tsugi-next-sentence." + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const int code = tsugi::run(folder.string());
  std::filesystem::remove_all(folder);
  return code;
}
