#include "core/checkpoint/parameter_ranges.h"

#include <glog/logging.h>

#include <algorithm>

#include "core/nn/adapter_names.h"

namespace tsugi {

std::vector<SavedTensor> saved_tensors(const ParameterStore& store) {
  std::vector<SavedTensor> tensors;
  for (const ParameterInfo& info : store.tensors()) {
    for (const ParameterPart& part : info.parts) {
      std::vector<int64_t> shape = part.shape;
      for (int axis = 0; part.shape.empty() && axis < info.shape.rank(); ++axis) {
        shape.push_back(axis == 0 ? part.rows : info.shape[axis]);
      }
      tensors.push_back({part.name, std::move(shape)});
    }
  }
  return tensors;
}

SavedState adapter_state(const ParameterStore& store, const std::vector<StateRange>& ranges) {
  SavedState state;
  std::vector<int> place;  // of each part among those that are kept; -1: not kept
  for (const ParameterInfo& info : store.tensors()) {
    for (size_t p = 0; p < info.parts.size(); ++p) {
      place.push_back(info.frozen ? -1 : static_cast<int>(std::count_if(place.begin(), place.end(), [](int one) {
        return one >= 0;
      })));
    }
  }
  const std::vector<SavedTensor> all = saved_tensors(store);
  for (size_t i = 0; i < all.size(); ++i) {
    if (place[i] < 0) continue;
    state.tensors.push_back(all[i]);
    std::string& name = state.tensors.back().name;
    if (!name.starts_with(kAdapterPrefix)) name = kAdapterPrefix + name;
  }
  for (const StateRange& range : ranges) {
    if (place[static_cast<size_t>(range.tensor)] < 0) continue;
    state.ranges.push_back(range);
    state.ranges.back().tensor = place[static_cast<size_t>(range.tensor)];
  }
  return state;
}

std::vector<StateRange> whole_tensors(ParameterStore& store) {
  CHECK(store.compute_type() == DType::kF32);
  std::vector<StateRange> ranges;
  int saved = 0;
  for (size_t t = 0; t < store.tensors().size(); ++t) {
    const ParameterInfo& info = store.tensors()[t];
    StateRange whole;
    whole.tensor = saved;
    whole.length = info.elements();
    whole.master = store.value(static_cast<int>(t)).data<float>();
    add_saved_ranges(info, whole, ranges);
    saved += static_cast<int>(info.parts.size());
  }
  return ranges;
}

void add_saved_ranges(const ParameterInfo& info, const StateRange& range, std::vector<StateRange>& ranges) {
  const int64_t row = info.elements() / info.shape[0];
  int64_t first = 0;
  for (size_t p = 0; p < info.parts.size(); ++p) {
    const int64_t last = first + info.parts[p].rows * row;
    const int64_t begin = std::max(range.offset, first);
    const int64_t end = std::min(range.offset + range.length, last);
    if (begin < end) {
      const int64_t skipped = begin - range.offset;
      StateRange part = range;
      part.tensor += static_cast<int>(p);
      part.offset = begin - first;
      part.length = end - begin;
      part.master += skipped;
      if (part.exp_avg != nullptr) part.exp_avg += skipped;
      if (part.exp_avg_sq != nullptr) part.exp_avg_sq += skipped;
      ranges.push_back(part);
    }
    first = last;
  }
}

}  // namespace tsugi
