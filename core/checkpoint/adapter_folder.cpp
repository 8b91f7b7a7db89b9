#include "core/checkpoint/adapter_folder.h"

#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/checkpoint/folder.h"
#include "core/checkpoint/manifest.h"
#include "core/config/run.pb.h"
#include "core/data/json.h"
#include "core/nn/adapter_names.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr int64_t kMaxConfigBytes = int64_t{1} << 24;
constexpr int64_t kMaxRank = int64_t{1} << 20;

/// Fields that change what is computed, and must be absent, null, false or empty.
constexpr const char* kUnsupported[] = {"use_dora",
                                        "use_rslora",
                                        "rank_pattern",
                                        "alpha_pattern",
                                        "lora_bias",
                                        "layer_replication",
                                        "trainable_token_indices",
                                        "target_parameters",
                                        "alora_invocation_tokens"};

constexpr const char* kBottleneckType = "TSUGI_BOTTLENECK";
constexpr const char* kFeedForward = "feed_forward";
constexpr const char* kBoth = "both";

bool has_bottlenecks(const JsonValue& config) { return config.require_string("peft_type") == kBottleneckType; }

AdapterConfig bottlenecks_in(const JsonValue& config) {
  AdapterConfig adapter;
  adapter.set_bottleneck(static_cast<int32_t>(config.require_int("bottleneck", 1, 65536)));
  const std::string placement = config.require_string("placement");
  if (placement != kFeedForward && placement != kBoth) {
    throw config.require("placement").error(std::string("is neither \"") + kFeedForward + "\" nor \"" + kBoth + "\"");
  }
  adapter.set_placement(placement == kBoth ? AdapterConfig::BOTH : AdapterConfig::FEED_FORWARD);
  if (config.require_string("non_linearity") != "gelu_new") {
    throw config.require("non_linearity").error("is not \"gelu_new\": nothing else is built");
  }
  return adapter;
}

JsonValue read_config(const Folder& folder, const std::string& path) {
  return parse_json(folder.read_text(kAdapterConfigFile, kMaxConfigBytes), path + "/" + kAdapterConfigFile);
}

void check_supported(const JsonValue& config) {
  if (config.require_string("peft_type") != "LORA") {
    throw config.require("peft_type").error("is neither LORA nor TSUGI_BOTTLENECK, the kinds of adapter that are read");
  }
  for (const char* field : kUnsupported) {
    if (!config.has(field)) continue;
    const JsonValue value = config.require(field);
    const bool empty =
        value.is_bool() ? !value.as_bool() : (value.is_array() || value.is_object()) && value.size() == 0;
    if (!empty) throw value.error("is not supported: only plain LoRA of one rank is");
  }
  if (config.string_or("bias", "none") != "none") {
    throw config.require("bias").error("is not \"none\": trained biases are not read");
  }
}

std::string find_base(const JsonValue& config, const std::string& folder) {
  namespace fs = std::filesystem;
  const std::string name = config.require_string("base_model_name_or_path");
  for (const fs::path& path : {fs::path(folder) / name, fs::path(name)}) {
    std::error_code unusable;  // a name may be too long for the file system
    if (!name.empty() && name.find('\0') == std::string::npos && fs::is_directory(path, unusable)) return path.string();
  }
  throw config.require("base_model_name_or_path")
      .error("\"" + name + "\" is no folder here (nothing is downloaded)",
             "put the folder of the adapted model there, or write its path");
}

/// "base_model.model.X" → "X"; anything else → "".
std::string without_prefix(const std::string& name) {
  const std::string_view prefix = kAdapterPrefix;
  return name.starts_with(prefix) ? name.substr(prefix.size()) : std::string();
}

}  // namespace

std::string to_adapter_config(int64_t rank, double alpha, const std::string& base,
                              const std::vector<std::string>& projections, bool conv1d,
                              const std::vector<std::string>& heads) {
  nlohmann::ordered_json json;
  json["peft_type"] = "LORA";
  json["task_type"] = heads.empty() ? "CAUSAL_LM" : "SEQ_CLS";
  json["base_model_name_or_path"] = base;
  json["r"] = rank;
  json["lora_alpha"] = alpha;
  json["lora_dropout"] = 0.0;
  json["target_modules"] = projections;
  json["modules_to_save"] = heads.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(heads);
  json["fan_in_fan_out"] = conv1d;
  json["bias"] = "none";
  json["inference_mode"] = true;
  return json.dump(2) + "\n";
}

std::string to_bottleneck_config(const AdapterConfig& adapter, const std::string& base,
                                 const std::vector<std::string>& heads) {
  nlohmann::ordered_json json;
  json["peft_type"] = kBottleneckType;
  json["task_type"] = heads.empty() ? "CAUSAL_LM" : "SEQ_CLS";
  json["base_model_name_or_path"] = base;
  json["bottleneck"] = adapter.bottleneck();
  json["placement"] = adapter.placement() == AdapterConfig::BOTH ? kBoth : kFeedForward;
  json["non_linearity"] = "gelu_new";
  json["modules_to_save"] = heads.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(heads);
  return json.dump(2) + "\n";
}

AdapterConfig bottlenecks_of(const std::string& folder) {
  if (!AdapterFolder::is_one(folder)) return {};
  const JsonValue config = read_config(Folder(folder), folder);
  return has_bottlenecks(config) ? bottlenecks_in(config) : AdapterConfig();
}

bool AdapterFolder::is_one(const std::string& path) { return std::filesystem::exists(path + "/" + kAdapterConfigFile); }

AdapterFolder::AdapterFolder(const std::string& path) {
  const Folder folder(path);
  const JsonValue config = read_config(folder, path);
  const bool bottlenecks = has_bottlenecks(config);
  if (bottlenecks) {
    bottlenecks_in(config);
  } else {
    check_supported(config);
  }
  base_ = find_base(config, path);
  if (!bottlenecks) read_scale(config);
  file_ = std::make_unique<SafetensorsFile>(folder.open(kAdapterFile));
  read_tensors();
}

void AdapterFolder::read_scale(const JsonValue& config) {
  rank_ = config.require_int("r", 1, kMaxRank);
  const double scale = config.require_double("lora_alpha") / static_cast<double>(rank_);
  if (std::abs(scale) > std::numeric_limits<float>::max()) {
    throw config.require("lora_alpha").error("is too large: updates are numbers of 32 bits");
  }
  scale_ = static_cast<float>(scale);
  conv1d_ = config.bool_or("fan_in_fan_out", false);
}

void AdapterFolder::read_tensors() {
  for (const auto& [name, tensor] : file_->header().tensors) {
    const std::string what = origin() + ": tensor \"" + name + "\" ";
    const std::string plain = without_prefix(name);
    if (plain.empty()) throw Error(ExitCode::kData, what + "does not begin with " + kAdapterPrefix);
    if (!is_low_rank(plain)) {
      whole_[plain] = name;
      continue;
    }
    const bool down = plain.ends_with(kAdapterDown);
    const std::string_view ending = down ? kAdapterDown : kAdapterUp;
    Update& update = updates_[plain.substr(0, plain.size() - ending.size()) + ".weight"];
    if (tensor.shape.size() != 2 || tensor.shape[down ? 0 : 1] != rank_) {
      throw Error(ExitCode::kData,
                  what + "has shape " + shape_text(tensor.shape) + ", which does not fit r = " + std::to_string(rank_));
    }
    (down ? update.in : update.out) = tensor.shape[down ? 1 : 0];
    std::vector<float>& values = down ? update.down : update.up;
    values.resize(static_cast<size_t>(tensor.elements));
    file_->read_floats(name, 0, values);
    for (const float value : values) {
      if (!std::isfinite(value)) throw Error(ExitCode::kData, what + "is not finite");
    }
  }
  for (const auto& [name, update] : updates_) {
    if (update.in > 0 && update.out > 0) continue;
    throw Error(ExitCode::kData, origin() + ": the update of \"" + name + "\" lacks its " +
                                     (update.in == 0 ? kAdapterDown : kAdapterUp));
  }
}

std::vector<std::string> AdapterFolder::updated() const {
  std::vector<std::string> names;
  for (const auto& [name, update] : updates_) names.push_back(name);
  return names;
}

void AdapterFolder::check(const std::string& name, const std::vector<int64_t>& shape) const {
  const auto found = updates_.find(name);
  if (found == updates_.end()) return;
  const Update& update = found->second;
  const std::vector<int64_t> needed =
      conv1d_ ? std::vector<int64_t>{update.in, update.out} : std::vector<int64_t>{update.out, update.in};
  if (shape == needed) return;
  throw Error(ExitCode::kData, origin() + ": the update of \"" + name + "\" is one of " + shape_text(needed) +
                                   ", but the tensor is " + shape_text(shape));
}

void AdapterFolder::add(const std::string& name, int64_t offset, std::span<float> values) const {
  const auto found = updates_.find(name);
  if (found == updates_.end()) return;
  const Update& update = found->second;
  const int64_t columns = conv1d_ ? update.out : update.in;
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t element = offset + static_cast<int64_t>(i);
    const int64_t out = conv1d_ ? element % columns : element / columns;
    const int64_t in = conv1d_ ? element / columns : element % columns;
    float sum = 0.0f;
    for (int64_t k = 0; k < rank_; ++k) {
      sum += update.up[static_cast<size_t>(out * rank_ + k)] * update.down[static_cast<size_t>(k * update.in + in)];
    }
    values[i] += scale_ * sum;
  }
}

}  // namespace tsugi
