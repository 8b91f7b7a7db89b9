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

SavedState state_share(const SavedState& whole, int ranks, int rank) {
  SavedState share{whole.tensors, {}};
  for (StateRange range : whole.ranges) {
    const int64_t begin = range.length * rank / ranks;
    const int64_t end = range.length * (rank + 1) / ranks;
    range.offset += begin;
    range.length = end - begin;
    if (range.master != nullptr) range.master += begin;
    if (range.length > 0) share.ranges.push_back(range);
  }
  return share;
}

int64_t saved_elements(const SavedState& state) {
  int64_t sum = 0;
  for (const StateRange& range : state.ranges) sum += range.length;
  return sum;
}

void append_state(SavedState& state, const SavedState& more) {
  const auto first = static_cast<int>(state.tensors.size());
  state.tensors.insert(state.tensors.end(), more.tensors.begin(), more.tensors.end());
  for (StateRange range : more.ranges) {
    range.tensor += first;
    state.ranges.push_back(range);
  }
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
    whole.master = static_cast<float*>(store.value(static_cast<int>(t)).raw());
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
