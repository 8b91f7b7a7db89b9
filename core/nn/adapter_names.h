// What the tensors of low-rank adapters are called: as in PEFT's files.
#pragma once

#include <string_view>

namespace tsugi {

inline constexpr const char* kAdapterPrefix = "base_model.model.";
inline constexpr const char* kAdapterDown = ".lora_A.weight";
inline constexpr const char* kAdapterUp = ".lora_B.weight";

/// Whether `name` is that of an adapter's tensor.
inline bool is_adapter(std::string_view name) { return name.ends_with(kAdapterDown) || name.ends_with(kAdapterUp); }

}  // namespace tsugi
