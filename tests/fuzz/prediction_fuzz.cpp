// read_prediction on any text: an Error(kData), or a prediction that a report can draw.
#include "core/scaling/fit/prediction_file.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(prediction) {
  using namespace tsugi;
  static const fuzzing::MemoryFile file(".prediction.json");
  file.put(input);
  fuzzing::refuse_or([] {
    const WrittenPrediction prediction = read_prediction(file.path());
    CHECK(prediction.n > 0.0 && prediction.d > 0.0 && prediction.c > 0.0 && prediction.loss > 0.0);
    CHECK(prediction.level > 0.0 && prediction.level < 1.0);
    CHECK(!(prediction.interval.low > prediction.interval.high));
    CHECK(prediction.run.empty());
  });
}
