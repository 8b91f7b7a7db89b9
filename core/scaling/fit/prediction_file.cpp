#include "core/scaling/fit/prediction_file.h"

#include <filesystem>

#include "core/data/json.h"

namespace tsugi {
namespace {

constexpr int64_t kLargestPrediction = 1 << 20;

}  // namespace

WrittenPrediction read_prediction(const std::string& path) {
  WrittenPrediction prediction;
  prediction.file = std::filesystem::path(path).filename().string();
  const JsonValue json = read_json(path, kLargestPrediction);
  const JsonValue fit = json.require_object("fit");
  prediction.time = json.require_string("time");
  prediction.form = fit.require_string("form");
  prediction.fit_hash = fit.require_string("hash");
  const auto positive = [&](const char* field) {
    const double value = json.require_double(field);
    if (!(value > 0.0)) throw json.require(field).error("is not positive", "a file that sweep predict --out wrote");
    return value;
  };
  prediction.n = positive("n");
  prediction.d = positive("d");
  prediction.c = positive("c");
  prediction.loss = positive("loss");
  prediction.level = json.require_double("level");
  if (!(prediction.level > 0.0 && prediction.level < 1.0)) throw json.require("level").error("is not between 0 and 1");
  const JsonValue interval = json.require_array("interval");
  if (interval.size() != 2) throw interval.error("is not two numbers");
  const auto end = [&](int64_t i) {
    return interval.at(i).is_null() ? RunPoint::kUnknown : interval.at(i).as_double();
  };
  prediction.interval = {end(0), end(1)};
  if (prediction.interval.low > prediction.interval.high) throw interval.error("ends before it begins");
  return prediction;
}

}  // namespace tsugi
