// A run's configuration in text format, and overrides: an Error(kUsage), or a configuration whose canonical text says
// the same.
//
// Input: the text, then overrides, each after a 0 byte.
#include "core/config/config.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(run_config) {
  using namespace tsugi;
  const std::string text = fuzzing::take_text(input);
  std::vector<std::string> overrides;
  while (!input.empty() && overrides.size() < 16) overrides.push_back(fuzzing::take_text(input));
  const std::initializer_list<ExitCode> refusals = {ExitCode::kUsage, ExitCode::kData};
  fuzzing::refuse_or(
      [&] {
        RunConfig config;
        parse_config(text, "input", overrides, config);
        const std::string once = to_text(config);
        RunConfig again;
        parse_config(once, "canonical", {}, again);
        CHECK_EQ(to_text(again), once);
        fuzzing::refuse_or([&] { validate_run(config); }, refusals);
      },
      refusals);
}
