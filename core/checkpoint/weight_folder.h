// The weights of a Hugging Face folder: model.safetensors, or the files that model.safetensors.index.json names; or
// those of a folder with a low-rank adapter: its base's with the updates added.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/checkpoint/adapter_folder.h"
#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/safetensors.h"

namespace tsugi {

inline constexpr const char* kIndexFile = "model.safetensors.index.json";

class WeightFolder {
 public:
  /// Reads the header of model.safetensors, or the index, or an adapter and its base's. A file that the index names is
  /// a plain name and no link, and lies in this folder. Throws Error(kData) when there is neither, or for an index that
  /// is wrong.
  explicit WeightFolder(const std::string& path) : WeightFolder(path, 0) {}

  /// "FOLDER/model.safetensors" or "FOLDER/model.safetensors.index.json".
  const std::string& origin() const { return origin_; }
  /// All tensors by name, without opening their files.
  std::vector<std::string> names() const;
  bool has(const std::string& name) const { return !actual_name(name).empty(); }

  /// The file that holds `name`, opened when it is needed, and its name there (`found`): the model's prefix
  /// ("transformer.", "model.", "bert." …) may be missing, and norms may have TensorFlow's names ("gamma", "beta").
  /// Error(kData) when there is none.
  const SafetensorsFile& file_with(const std::string& name, std::string& found);

  /// Throws Error(kData) naming the first tensor that is missing or has another shape.
  void check(const std::vector<SavedTensor>& tensors);

  /// Throws Error(kData) naming the first tensor of the folder that is none of `tensors`. Buffers that are no weights
  /// (GPT-2's masks, rotary frequencies) pass, and so do heads that the model in `tensors` has no use for
  /// ("lm_head", "score", "cls", a pooler …).
  void check_nothing_else(const std::vector<SavedTensor>& tensors) const;

  /// Throws Error(kData) unless two tensors have the same shape and values.
  void check_equal(const std::string& name, const std::string& copy);

  /// Elements [offset, offset + out.size()) of a tensor as fp32. Error(kData) for a value that is not finite.
  void read(const std::string& name, int64_t offset, std::span<float> out);

 private:
  /// `depth`: how many adapters lead here; one may adapt what another has adapted.
  WeightFolder(const std::string& path, int depth);
  void open_adapter(const std::string& path, int depth);
  /// How the folder calls `name`; empty: not at all.
  std::string actual_name(const std::string& name) const;

  Folder folder_;
  std::string origin_;
  std::map<std::string, std::string> file_of_;
  std::map<std::string, std::unique_ptr<SafetensorsFile>> open_;
  std::unique_ptr<AdapterFolder> adapter_;
  std::unique_ptr<WeightFolder> base_;  ///< what the adapter updates
};

}  // namespace tsugi
