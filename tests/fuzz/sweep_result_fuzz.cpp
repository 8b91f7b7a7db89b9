// The result.json of a sweep's task: an Error(kData), or a result that means the same when it is written and read
// again.
//
// Input: u8, the kind: a run, its fine-tuning; then the file.
#include <cmath>

#include "launch/sweep/sweep_result.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(sweep_result) {
  using namespace tsugi;
  static const fuzzing::MemoryFolder folder("_sweep_result");
  constexpr const char* kId = "0123456789abcdef";
  if (input.empty()) return;
  const bool run = (fuzzing::take(input, 1)[0] & 1) == 0;
  folder.put("result.json", input);
  fuzzing::refuse_or([&] {
    const std::optional<JsonValue> json = read_task_result(folder.path(), kId);
    CHECK(json);
    if (run) {
      const RunResult result = run_result(*json);
      CHECK(result.diverged == std::isnan(result.loss));
      CHECK(result.speed.ranks >= 0 && result.speed.threads >= 0);
      write_run_result(folder.path(), kId, "8x4", result);
      const RunResult again = run_result(*read_task_result(folder.path(), kId));
      CHECK(again.diverged == result.diverged && (result.diverged || again.loss == result.loss));
      CHECK(again.learning_rate == result.learning_rate && again.reason == result.reason);
    } else {
      const DownstreamResult result = downstream_result(*json);
      write_downstream_result(folder.path(), kId, "8x4", result);
      const DownstreamResult again = downstream_result(*read_task_result(folder.path(), kId));
      CHECK(again.diverged == result.diverged && again.accuracy == result.accuracy && again.loss == result.loss);
    }
  });
}
