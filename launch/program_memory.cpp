#include "launch/program_memory.h"

#include <malloc.h>

#include <fstream>

#include "core/config/config.h"
#include "core/train/engine.h"
#include "core/train/memory_plan.h"
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

/// Bytes beyond which what the program takes is a small part of a run, and a small block stands for its own.
constexpr int64_t kMost = int64_t{256} << 20;

int64_t planned_bytes(const RunConfig& config) {
  ThreadPool pool(1);
  PlanningMemory memory;
  const Device meta{.meta = true};
  const RandomTokensLm objective(config);
  ParameterStore store;
  const Transformer model(config.model(), store);
  store.allocate(Context(meta, pool, memory), compute_type(config));
  return plan_memory(meta, store, model, objective, config, 1, 0).total();
}

/// The run with a single block, of which it takes the shapes of its products; where that is no small language model,
/// one that is.
RunConfig block_like(const RunConfig& run) {
  RunConfig small;
  parse_config(kOneBlock, "a model of one block", {}, small);
  *small.mutable_numerics() = run.numerics();
  validate_run(small);
  if (!run.objective().has_causal_lm() || run.model().vocabulary() == 0) return small;
  RunConfig like = small;
  *like.mutable_model() = run.model();
  like.mutable_model()->set_layers(1);
  *like.mutable_batch() = run.batch();
  like.mutable_batch()->set_micro_batches(2);
  return planned_bytes(like) <= kMost ? like : small;
}

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

int64_t measure_program_bytes(ThreadPool& pool, const RunConfig& run) {
  {
    const RunConfig config = block_like(run);
    const std::unique_ptr<Communicator> alone = make_local_communicator();
    RandomTokensLm objective(config);
    Engine engine(pool, *alone, config, objective, {});
    engine.step(1, 0, 1e-3f);
  }
  ::malloc_trim(0);
  return resident_bytes("VmRSS:");
}

}  // namespace tsugi
