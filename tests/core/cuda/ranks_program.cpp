// Trains on emulated CUDA on every rank of mpirun, with gradients by way of the host and over NCCL, then alone, and
// compares bytes: losses, and the weights at the end. Of a model of texts, and of one of pictures, whose features are
// compared with those of all ranks.
//   mpirun -np 2 cuda_ranks_program TOKENS.bin
#include <cstring>
#include <exception>
#include <iostream>

#include "core/config/config.h"
#include "core/objective/causal_lm.h"
#include "core/objective/simclr.h"
#include "core/train/engine.h"
#include "core/train/product_choice.h"
#include "dist/nccl_communicator.h"
#include "dist/world.h"
#include "ops/cuda/operators.h"
#include "ops/tensor/copy.h"
#include "tests/core/cuda/counting_recorder.h"
#include "tests/dist/cuda/shared_memory_nccl.h"

namespace {

using namespace tsugi;

constexpr int64_t kVocabulary = 37;
constexpr int64_t kSequence = 12;

constexpr const char* kTexts = R"(
    model { layers: 6 heads: 2 width: 16 context: 12 vocabulary: 37 dropout: 0.1 }
    batch { micro_batch: 1 micro_batches: 5 }
)";
constexpr const char* kPictures = R"(
    model { family: VIT layers: 1 heads: 2 width: 16 image_size: 8 patch_size: 4 image_channels: 1 dropout: 0.1 }
    batch { micro_batch: 2 micro_batches: 5 }
    objective { simclr { projection_width: 8 augmentation { smallest_crop: 0.5 } } }
)";

std::unique_ptr<Objective> make_objective(const RunConfig& config, const std::string& tokens) {
  if (!config.objective().has_simclr()) {
    return std::make_unique<CausalLm>(TokenFile::open(tokens), TokenFile::open(tokens), kVocabulary, kSequence,
                                      config.seed());
  }
  ImageSet set{"made", 8, 8, 1, {}, {}, {}};
  for (int i = 0; i < 20 * 64; ++i) set.pixels.push_back(static_cast<uint8_t>(i * i + 3 * i));
  const SimClr& simclr = config.objective().simclr();
  return std::make_unique<SimClrObjective>(
      ImageBatches({set, set}, config.model(), simclr.augmentation(), config.seed()), simclr);
}

/// Losses of three steps and the weights after them, as bytes.
std::string train(Communicator& communicator, const std::string& what, const std::string& tokens, bool over_nccl,
                  bool graphs = false) {
  RunConfig config;
  parse_config(R"(
      steps: 3
      data { train: "unused" }
      optimizer { learning_rate: 1e-2 }
      numerics { compute: BF16 }
      dist { bucket_megabytes: 1 }
  )" + what,
               "test", {}, config);
  validate_run(config);
  ThreadPool pool(1);
  const std::unique_ptr<DeviceOperators> cuda = cuda::make_operators(0);
  const std::unique_ptr<Objective> objective = make_objective(config, tokens);
  NcclConnection nccl;
  if (over_nccl) {
    nccl = connect_nccl(&testing::shared_memory_nccl(), "", communicator, cuda::stream_of(*cuda), 60.0,
                        [](const Error& error) { LOG(FATAL) << error.what(); });
  }
  testing::CountingRecorder recorder(*cuda);
  Engine engine(pool, communicator, config, *objective, {}, {.operators = cuda.get()}, nccl.communicator.get(),
                graphs ? &recorder : nullptr);
  // Ranks with different clocks form products alike: as rank 0 says.
  int timed = 0;
  dynamic_cast<cuda::Operators&>(*cuda).set_product_times(
      [&](const cuda::ProductShape&, std::span<const cuda::ProductAlgorithm> algorithms) {
        ++timed;
        std::vector<double> seconds(algorithms.size(), 2.0);
        (communicator.rank() == 0 ? seconds.back() : seconds.front()) = 1.0;
        return seconds;
      });
  const std::string table = choose_products(communicator, *cuda, config.compute(), {}, "");
  if ((communicator.rank() == 0) != (timed > 0)) return "rank 0 alone times";
  for (const std::string& other : communicator.all_gather_strings(table)) {
    if (other != table) return "the ranks' tables differ";
  }
  engine.optimizer().initialize(config.seed());
  std::string result;
  for (int64_t step = 0; step < config.steps(); ++step) {
    const StepReport report = engine.step(step + 1, static_cast<uint64_t>(step * engine.samples_per_step()), 1e-2f);
    result.append(reinterpret_cast<const char*>(&report.loss), sizeof(report.loss));
  }
  // The last micro-batch is cut at every bucket but the last one's end, where there is somebody to send it to.
  if (graphs && recorder.cuts == 0) return "graphs are not cut at buckets";
  const Tensor weights = on_host(engine.context(), engine.store().working());
  return result.append(static_cast<const char*>(weights.raw()), weights.bytes());
}

/// 0 where all ranks give the bits of one.
int compare(const std::string& file) {
  World world({.timeout_seconds = 60});
  const std::string path = file + "." + std::to_string(world.rank());
  {
    TokenFileWriter writer(path, kVocabulary);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 2000; ++i) tokens.push_back((i * i + 3 * i) % kVocabulary);
    writer.add_document(tokens);
    writer.finish();
  }
  for (const char* what : {kTexts, kPictures}) {
    const std::string alone = train(*make_local_communicator(), what, path, false);
    for (const auto& [over_nccl, graphs] : {std::pair{false, false}, {true, false}, {false, true}, {true, true}}) {
      if (graphs && what == kPictures) continue;  // refused
      testing::nccl_faults().delay_seconds = 1e-3 * world.rank();
      if (train(world.communicator(), what, path, over_nccl, graphs) == alone) continue;
      std::cerr << "rank " << world.rank() << ": " << world.size() << " ranks give other bits than one"
                << (over_nccl ? " over NCCL" : "") << (graphs ? " with graphs" : "") << what << '\n';
      world.abort(1);
    }
  }
  world.communicator().barrier();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return argc == 2 ? compare(argv[1]) : 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
