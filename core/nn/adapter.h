// Adapters: whether there are any; of low-rank ones, which projections have one, and how large its update is.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/autograd/parameter_store.h"
#include "core/config/run.pb.h"
#include "core/nn/adapter_names.h"

namespace tsugi {

bool has_adapter(const AdapterConfig& adapter);

/// Freezes all but adapters and the first `head_units` units.
void freeze_all_but_adapters(ParameterStore& store, int head_units);

/// The elements of `targets`.
std::vector<std::string> adapter_targets(const AdapterConfig& adapter);

/// Whether the projection `name` ("model.layers.0.self_attn.q_proj") is one of the targets.
bool is_adapted(const AdapterConfig& adapter, std::string_view name);

/// alpha/rank (Hu et al. 2021, section 4.1).
float adapter_scale(const AdapterConfig& adapter);

}  // namespace tsugi
