#include "launch/program_memory.h"

#include <malloc.h>

#include <fstream>

#include "core/config/config.h"
#include "core/train/engine.h"
#include "launch/planned_lm.h"

namespace tsugi {
namespace {

constexpr const char* kOneBlock = R"(
  steps: 1
  model { layers: 1 heads: 2 width: 64 context: 32 vocabulary: 128 }
  data { train: "none" }
  batch { micro_batch: 2 micro_batches: 2 }
  optimizer { learning_rate: 1e-3 }
)";

}  // namespace

int64_t resident_bytes(const std::string& which) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word != which) continue;
    int64_t kilobytes = 0;
    status >> kilobytes;
    return kilobytes * 1024;
  }
  return 0;
}

int64_t measure_program_bytes(ThreadPool& pool, NumericsConfig::Compute compute) {
  {
    RunConfig config;
    parse_config(kOneBlock, "a model of one block", {}, config);
    config.mutable_numerics()->set_compute(compute);
    validate_run(config);
    const std::unique_ptr<Communicator> alone = make_local_communicator();
    RandomTokensLm objective(config);
    Engine engine(pool, *alone, config, objective, {});
    for (int64_t step = 0; step < 2; ++step) {
      engine.step(step + 1, static_cast<uint64_t>(step * engine.samples_per_step()), 1e-3f);
    }
  }
  ::malloc_trim(0);
  return resident_bytes("VmRSS:");
}

}  // namespace tsugi
