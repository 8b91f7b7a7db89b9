#include "core/downstream/few_labels.h"

#include <algorithm>
#include <map>

#include "ops/base/error.h"

namespace tsugi {

std::vector<int64_t> first_of_each_label(std::span<const int32_t> labels, int64_t count) {
  std::vector<int64_t> places;
  std::map<int32_t, int64_t> taken;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (count > 0 && taken[labels[i]]++ >= count) continue;
    places.push_back(static_cast<int64_t>(i));
  }
  return places;
}

std::vector<int64_t> require_of_each_class(std::span<const int32_t> labels, const std::vector<std::string>& classes,
                                           int64_t count, const std::string& origin) {
  const int64_t least = std::max<int64_t>(count, 1);
  for (size_t k = 0; k < classes.size(); ++k) {
    const int64_t found = std::ranges::count(labels, static_cast<int32_t>(k));
    if (found >= least) continue;
    throw Error(ExitCode::kData,
                origin + ": class \"" + classes[k] + "\" has " + std::to_string(found) + " examples, fewer than " +
                    std::to_string(least),
                count > 0 ? "lower --per-class" : "");
  }
  return first_of_each_label(labels, count);
}

std::vector<LabelledText> some_of_each_class(std::span<const LabelledText> texts,
                                             const std::vector<std::string>& classes, int64_t count,
                                             const std::string& origin) {
  std::vector<int32_t> labels;
  for (const LabelledText& one : texts) labels.push_back(one.label);
  std::vector<LabelledText> some;
  for (const int64_t place : require_of_each_class(labels, classes, count, origin)) {
    some.push_back(texts[static_cast<size_t>(place)]);
  }
  return some;
}

}  // namespace tsugi
