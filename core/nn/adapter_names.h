// What the tensors of adapters are called: low-rank ones as in PEFT's files.
#pragma once

#include <string_view>

namespace tsugi {

inline constexpr const char* kAdapterPrefix = "base_model.model.";
inline constexpr const char* kAdapterDown = ".lora_A.weight";
inline constexpr const char* kAdapterUp = ".lora_B.weight";

/// Behind a block's name ("model.layers.0"): bottlenecks after attention and after the feed-forward layer.
inline constexpr const char* kAttentionBottleneck = ".attention_adapter";
inline constexpr const char* kMlpBottleneck = ".mlp_adapter";

/// Whether `name` is that of a tensor of a low-rank adapter, of a bottleneck, of either.
inline bool is_low_rank(std::string_view name) { return name.ends_with(kAdapterDown) || name.ends_with(kAdapterUp); }
inline bool is_bottleneck(std::string_view name) { return name.find("_adapter.") != std::string_view::npos; }
inline bool is_adapter(std::string_view name) { return is_low_rank(name) || is_bottleneck(name); }

}  // namespace tsugi
