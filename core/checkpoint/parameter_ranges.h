// A store's parameters as the tensors of files: one that has parts is several there.
#pragma once

#include <vector>

#include "core/autograd/parameter_store.h"
#include "core/checkpoint/checkpoint.h"

namespace tsugi {

/// How the names of tensors begin that belong to an objective and to no model: what comes after training passes them
/// over.
inline constexpr const char* kObjectivePrefix = "objective.";

/// Names and shapes of a store's parts, in the order of StateRange::tensor.
std::vector<SavedTensor> saved_tensors(const ParameterStore& store);

/// What a checkpoint holds of a store's parts.
struct SavedState {
  std::vector<SavedTensor> tensors;
  std::vector<StateRange> ranges;
};

/// The trained parts alone, by the names that PEFT gives them: what an adapter's checkpoint holds.
SavedState adapter_state(const ParameterStore& store, const std::vector<StateRange>& ranges);

/// What rank `rank` of `ranks` writes of tensors that all of them have whole: about an equal part of each.
SavedState state_share(const SavedState& whole, int ranks, int rank);
/// Floats that the ranges point to, moments not counted.
int64_t saved_elements(const SavedState& state);
/// Adds the tensors of `more` and their ranges.
void append_state(SavedState& state, const SavedState& more);

/// Every element of an fp32 store's working copy, where it lies, to read weights into or save them.
std::vector<StateRange> whole_tensors(ParameterStore& store);

/// Adds elements [range.offset, range.offset + range.length) of a parameter to `ranges`, cut at the borders of its
/// parts. On entry range.tensor is the place of its first part among saved_tensors().
void add_saved_ranges(const ParameterInfo& info, const StateRange& range, std::vector<StateRange>& ranges);

}  // namespace tsugi
