// load_fit on any text: an Error(kData), or a fit with a prediction.
#include "core/scaling/fit/fit_file.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(fit_file) {
  using namespace tsugi;
  static const fuzzing::MemoryFile file(".fit.json");
  file.put(input);
  fuzzing::refuse_or([] {
    const FitFile fit = load_fit(file.path());
    CHECK(fit.fit.fit.law != nullptr);
    CHECK(!fit.fit.fit.residuals.empty());
    CHECK(fit.fit.level > 0.0 && fit.fit.level < 1.0);
  });
}
