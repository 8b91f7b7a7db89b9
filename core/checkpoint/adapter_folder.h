// A folder with an adapter: adapter_config.json and adapter_model.safetensors. The weights that it belongs to lie
// elsewhere. Low-rank adapters are as PEFT keeps them; bottlenecks have the same files with a "peft_type" of our own,
// which PEFT refuses.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/checkpoint/safetensors.h"

namespace tsugi {

class AdapterConfig;
class JsonValue;

/// The text of adapter_config.json. `base`: the folder of the weights that are adapted. `projections`: the last parts
/// of the names of what has an adapter. `conv1d`: they are stored [in, out], as GPT-2's. `heads`: modules that
/// were trained as a whole and lie beside the adapter ("score"), those of a classifier.
std::string to_adapter_config(int64_t rank, double alpha, const std::string& base,
                              const std::vector<std::string>& projections, bool conv1d,
                              const std::vector<std::string>& heads);

/// The same for bottlenecks.
std::string to_bottleneck_config(const AdapterConfig& adapter, const std::string& base,
                                 const std::vector<std::string>& heads);

/// Width and placement of the bottlenecks in `folder`; of any other folder, nothing. Throws Error(kData) naming the
/// field.
AdapterConfig bottlenecks_of(const std::string& folder);

class AdapterFolder {
 public:
  /// Whether there is an adapter_config.json.
  static bool is_one(const std::string& path);
  /// Reads both files. Throws Error(kData) naming file and field for what this program does not compute (DoRA, ranks
  /// that differ, biases …), for tensors without a partner or of another rank, and for values that are not finite.
  explicit AdapterFolder(const std::string& path);

  const std::string& origin() const { return file_->path(); }
  /// Folder of the adapted weights: as it stands in the file, or, if relative, seen from the adapter's folder first.
  const std::string& base() const { return base_; }
  /// Names of the tensors that are updated: "model.layers.0.self_attn.q_proj.weight".
  std::vector<std::string> updated() const;
  /// Tensors that stand there whole (a head's "score.weight", those of bottlenecks), by the name that a model knows
  /// them by.
  const std::map<std::string, std::string>& whole() const { return whole_; }
  const SafetensorsFile& file() const { return *file_; }

  /// Throws Error(kData) unless the update of `name`, if there is one, is that of a tensor of this shape.
  void check(const std::string& name, const std::vector<int64_t>& shape) const;
  /// Adds elements [offset, offset + values.size()) of the update of `name`, if there is one.
  void add(const std::string& name, int64_t offset, std::span<float> values) const;

 private:
  struct Update {
    std::vector<float> down;  ///< A [rank, in]
    std::vector<float> up;    ///< B [out, rank]
    int64_t in = 0;
    int64_t out = 0;
  };
  void read_scale(const JsonValue& config);
  void read_tensors();

  std::string base_;
  int64_t rank_ = 0;
  float scale_ = 1.0f;
  bool conv1d_ = false;
  std::unique_ptr<SafetensorsFile> file_;
  std::map<std::string, Update> updates_;
  std::map<std::string, std::string> whole_;
};

}  // namespace tsugi
