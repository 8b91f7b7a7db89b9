// Trains on emulated CUDA on every rank of mpirun, with gradients by way of the host and over NCCL, then alone, and
// compares bytes: losses, and the weights at the end.
//   mpirun -np 2 cuda_ranks_program TOKENS.bin
#include <cstring>
#include <iostream>

#include "core/config/config.h"
#include "core/objective/causal_lm.h"
#include "core/train/engine.h"
#include "core/train/product_choice.h"
#include "dist/nccl_communicator.h"
#include "dist/world.h"
#include "ops/cuda/operators.h"
#include "ops/tensor/copy.h"
#include "tests/dist/cuda/shared_memory_nccl.h"

namespace {

using namespace tsugi;

constexpr int64_t kVocabulary = 37;
constexpr int64_t kSequence = 12;

/// Losses of three steps and the weights after them, as bytes.
std::string train(Communicator& communicator, const std::string& tokens, bool over_nccl) {
  RunConfig config;
  parse_config(R"(
      steps: 3
      model { layers: 2 heads: 2 width: 16 context: 12 vocabulary: 37 dropout: 0.1 }
      data { train: "unused" }
      batch { micro_batch: 1 micro_batches: 5 }
      optimizer { learning_rate: 1e-2 }
      numerics { compute: BF16 }
      dist { bucket_megabytes: 1 }
  )",
               "test", {}, config);
  validate_run(config);
  ThreadPool pool(1);
  const std::unique_ptr<DeviceOperators> cuda = cuda::make_operators(0);
  CausalLm objective(TokenFile::open(tokens), TokenFile::open(tokens), kVocabulary, kSequence, config.seed());
  NcclConnection nccl;
  if (over_nccl) {
    nccl = connect_nccl(&testing::shared_memory_nccl(), "", communicator, cuda::stream_of(*cuda), 60.0);
  }
  Engine engine(pool, communicator, config, objective, {}, {.operators = cuda.get()}, nccl.communicator.get());
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
  const Tensor weights = on_host(engine.context(), engine.store().working());
  return result.append(static_cast<const char*>(weights.raw()), weights.bytes());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  World world({.timeout_seconds = 60});
  const std::string path = std::string(argv[1]) + "." + std::to_string(world.rank());
  {
    TokenFileWriter writer(path, kVocabulary);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 2000; ++i) tokens.push_back((i * i + 3 * i) % kVocabulary);
    writer.add_document(tokens);
    writer.finish();
  }
  const std::string alone = train(*make_local_communicator(), path, false);
  for (const bool over_nccl : {false, true}) {
    testing::nccl_faults().delay_seconds = 1e-3 * world.rank();
    if (train(world.communicator(), path, over_nccl) == alone) continue;
    std::cerr << "rank " << world.rank() << ": " << world.size() << " ranks give other bits than one"
              << (over_nccl ? " over NCCL\n" : "\n");
    world.abort(1);
  }
  world.communicator().barrier();
  return 0;
}
