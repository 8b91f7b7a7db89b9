#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <map>
#include <memory>
#include <span>

#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/manifest.h"
#include "core/checkpoint/safetensors.h"
#include "core/data/file.h"
#include "core/data/json.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr int64_t kMaxIndexBytes = 100'000'000;
constexpr std::string_view kPrefix = "transformer.";

/// The tensors of a Hugging Face folder, in one file or many. Files are opened when they are needed.
class WeightFolder {
 public:
  explicit WeightFolder(const std::string& path) : folder_(path), origin_(path + "/" + kModelFile) {
    // This one name is ours and not a file's, so it may be a link: Hugging Face's cache consists of links.
    const int descriptor = ::open(origin_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor >= 0) {
      open_[kModelFile] = std::make_unique<SafetensorsFile>(File(descriptor, origin_));
      for (const auto& [name, tensor] : open_[kModelFile]->header().tensors) file_of_[name] = kModelFile;
      return;
    }
    if (errno != ENOENT) throw file_error("open", origin_);
    origin_ = path + "/" + kIndexFile;
    if (::access(origin_.c_str(), F_OK) != 0) {
      throw Error(ExitCode::kData, path + ": has neither " + kModelFile + " nor " + kIndexFile,
                  "weights are read from safetensors only, never from pickled files (pytorch_model.bin)");
    }
    for (const auto& [name, file] : read_json(origin_, kMaxIndexBytes).require_object("weight_map").members()) {
      const std::string file_name = file.as_string();
      check_file_name(file_name, origin_);
      file_of_[name] = file_name;
    }
  }

  /// The file that holds `name`, with or without its prefix; `found` is the name there.
  const SafetensorsFile& file_with(const std::string& name, std::string& found) {
    auto place = file_of_.find(name);
    if (place == file_of_.end() && name.starts_with(kPrefix)) place = file_of_.find(name.substr(kPrefix.size()));
    if (place == file_of_.end()) throw Error(ExitCode::kData, origin_ + ": tensor \"" + name + "\" is missing");
    found = place->first;
    std::unique_ptr<SafetensorsFile>& file = open_[place->second];
    if (!file) file = std::make_unique<SafetensorsFile>(folder_.open(place->second));
    if (file->find(found) == nullptr) {
      throw Error(ExitCode::kData,
                  file->path() + ": tensor \"" + found + "\" is missing, but " + kIndexFile + " says it is there");
    }
    return *file;
  }

 private:
  Folder folder_;
  std::string origin_;
  std::map<std::string, std::string> file_of_;
  std::map<std::string, std::unique_ptr<SafetensorsFile>> open_;
};

}  // namespace

void load_weights(const std::string& folder, const std::vector<SavedTensor>& tensors,
                  const std::vector<StateRange>& ranges) {
  WeightFolder weights(folder);
  for (const SavedTensor& tensor : tensors) {
    std::string name;
    const SafetensorsFile& file = weights.file_with(tensor.name, name);
    const std::vector<int64_t>& shape = file.find(name)->shape;
    if (shape != tensor.shape) {
      throw Error(ExitCode::kData, file.path() + ": tensor \"" + name + "\" has shape " + shape_text(shape) +
                                       ", the model needs " + shape_text(tensor.shape));
    }
  }
  for (const StateRange& range : ranges) {
    std::string name;
    const SafetensorsFile& file = weights.file_with(tensors[static_cast<size_t>(range.tensor)].name, name);
    const std::span<float> values(range.master, static_cast<size_t>(range.length));
    file.read_floats(name, range.offset, values);
    for (size_t i = 0; i < values.size(); ++i) {
      if (!std::isfinite(values[i])) {
        throw Error(ExitCode::kData, file.path() + ": tensor \"" + name + "\" is not finite at element " +
                                         std::to_string(range.offset + static_cast<int64_t>(i)));
      }
    }
  }
}

}  // namespace tsugi
