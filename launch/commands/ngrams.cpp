#include "core/downstream/ngrams.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/data/token_file.h"
#include "launch/commands/commands.h"
#include "launch/model_folder.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct NgramOptions {
  std::string train;
  std::string tokens;
  int64_t vocabulary = 0;
  int order = 5;
  int threads = 0;
  bool json = false;
};

/// Two files of one tokenizer: of the sizes that their headers say, the larger; the option where they say none.
int64_t vocabulary_of(const NgramOptions& options, const TokenFile& train, const TokenFile& held_out) {
  const int64_t vocabulary = std::max({options.vocabulary, train.vocabulary(), held_out.vocabulary()});
  if (vocabulary == 0) {
    throw Error(ExitCode::kUsage, train.path() + ": its header does not say how large the vocabulary is",
                "--vocabulary 50257");
  }
  if (train.vocabulary() != held_out.vocabulary() && train.vocabulary() > 0 && held_out.vocabulary() > 0) {
    throw Error(ExitCode::kData,
                train.path() + " has a vocabulary of " + std::to_string(train.vocabulary()) + ", " + held_out.path() +
                    " one of " + std::to_string(held_out.vocabulary()),
                "both must come from one tokenizer");
  }
  return vocabulary;
}

int run(const NgramOptions& options) {
  const TokenFile train = TokenFile::open(options.train);
  const TokenFile held_out = TokenFile::open(options.tokens);
  const int64_t vocabulary = vocabulary_of(options, train, held_out);
  std::vector<int32_t> seen(static_cast<size_t>(train.tokens()));
  std::vector<int32_t> unseen(static_cast<size_t>(held_out.tokens()));
  train.read(0, vocabulary, seen);
  held_out.read(0, vocabulary, unseen);
  ThreadPool pool(options.threads > 0 ? options.threads : available_cpus());
  const NgramModel model(seen, train.documents(), vocabulary, options.order, pool);
  const std::vector<double> losses = model.losses(unseen, held_out.documents(), pool);
  if (options.json) {
    std::cout << nlohmann::ordered_json{{"losses", losses},
                                        {"tokens", held_out.tokens()},
                                        {"trained_tokens", train.tokens()},
                                        {"vocabulary", vocabulary}}
                     .dump()
              << std::endl;
    return 0;
  }
  std::cout << "n-grams with Witten-Bell smoothing, of " << train.tokens() << " tokens, on " << held_out.tokens()
            << " others\norder  nats per token  perplexity\n"
            << std::fixed;
  for (size_t i = 0; i < losses.size(); ++i) {
    std::cout << std::setw(5) << i + 1 << std::setprecision(4) << std::setw(16) << losses[i] << std::setprecision(2)
              << std::setw(12) << std::exp(losses[i]) << "\n";
  }
  return 0;
}

}  // namespace

void add_ngrams(Command app) {
  auto options = std::make_shared<NgramOptions>();
  Command command = app.subcommand("ngrams", "What counting alone predicts of a text: the loss that a model must beat");
  command.option("--train", options->train, "token file (or folder, index, pattern) to count").required();
  command.option("--tokens", options->tokens, "token file to predict, of the same vocabulary").required();
  command.option("--order", options->order, "longest n-gram; the shorter ones are shown, too")
      .show_default()
      .range(1, 16);
  command.option("--vocabulary", options->vocabulary, "of files that do not say theirs").non_negative();
  command.option("--threads", options->threads, "0: all CPUs").show_default().range(0, 4096);
  command.flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command.run([options] { return run(*options); });
}

}  // namespace tsugi
