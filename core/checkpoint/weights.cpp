#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <set>
#include <span>

#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/manifest.h"
#include "core/checkpoint/parameter_ranges.h"
#include "core/checkpoint/weight_folder.h"
#include "core/data/file.h"
#include "core/data/json.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr int64_t kMaxIndexBytes = 100'000'000;
constexpr size_t kMaxFiles = 1000;  // open at the same time
constexpr std::array<std::string_view, 7> kPrefixes{"transformer.", "model.",   "bert.", "roberta.",
                                                    "distilbert.",  "electra.", "vit."};

/// Norms of folders that were converted from TensorFlow have its names.
constexpr std::array<std::pair<std::string_view, std::string_view>, 2> kOldEndings{
    {{"LayerNorm.weight", "LayerNorm.gamma"}, {"LayerNorm.bias", "LayerNorm.beta"}}};

/// What transformers has stored beside weights at some time.
bool is_buffer(const std::string& name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") || name.ends_with("rotary_emb.inv_freq") ||
         name.ends_with("embeddings.position_ids") || name.ends_with("embeddings.token_type_ids") ||
         // Of T5: copies of the token table, and a table that nothing reads.
         name == "encoder.embed_tokens.weight" || name == "decoder.embed_tokens.weight" ||
         name == "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight";
}

bool is_head(const std::string& name) {
  constexpr std::array<std::string_view, 9> kHeads{"cls.",        "lm_head.",        "vocab_",
                                                   "classifier.", "pre_classifier.", "discriminator_predictions.",
                                                   "generator_",  "projector.",      kObjectivePrefix};
  return name == "score.weight" || name.ends_with("pooler.dense.weight") || name.ends_with("pooler.dense.bias") ||
         std::ranges::any_of(kHeads, [&](std::string_view start) { return name.starts_with(start); });
}

}  // namespace

WeightFolder::WeightFolder(const std::string& path, int depth) : folder_(path), origin_(path + "/" + kModelFile) {
  // This one name is ours and not a file's, so it may be a link: Hugging Face's cache consists of links.
  const int descriptor = ::open(origin_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor >= 0) {
    open_[kModelFile] = std::make_unique<SafetensorsFile>(File(descriptor, origin_));
    for (const auto& [name, tensor] : open_[kModelFile]->header().tensors) file_of_[name] = kModelFile;
    return;
  }
  if (errno != ENOENT) throw file_error("open", origin_);
  if (AdapterFolder::is_one(path)) {
    open_adapter(path, depth);
    return;
  }
  origin_ = path + "/" + kIndexFile;
  if (::access(origin_.c_str(), F_OK) != 0) {
    throw Error(ExitCode::kData, path + ": has neither " + kModelFile + " nor " + kIndexFile,
                "weights are read from safetensors only, never from pickled files (pytorch_model.bin)");
  }
  std::set<std::string> files;
  for (const auto& [name, file] : read_json(origin_, kMaxIndexBytes).require_object("weight_map").members()) {
    const std::string file_name = file.as_string();
    check_file_name(file_name, origin_);
    if (file_name.find('/') != std::string::npos) throw file.error("\"" + file_name + "\" is not a plain file name");
    file_of_[name] = file_name;
    files.insert(file_name);
  }
  if (files.size() > kMaxFiles) {
    throw Error(ExitCode::kData, origin_ + ": names " + std::to_string(files.size()) +
                                     " files, more than the limit of " + std::to_string(kMaxFiles));
  }
}

void WeightFolder::open_adapter(const std::string& path, int depth) {
  constexpr int kMaxDepth = 8;
  if (depth == kMaxDepth) throw Error(ExitCode::kData, path + ": more than 8 adapters adapt each other, or a circle");
  adapter_ = std::make_unique<AdapterFolder>(path);
  origin_ = adapter_->origin();
  base_.reset(new WeightFolder(adapter_->base(), depth + 1));
  for (const std::string& name : adapter_->updated()) {
    std::string found;
    const SafetensorsFile& file = base_->file_with(name, found);
    adapter_->check(name, file.find(found)->shape);
  }
}

std::vector<std::string> WeightFolder::names() const {
  if (base_) {
    std::vector<std::string> names = base_->names();
    for (const auto& [name, stored] : adapter_->whole()) {
      if (!base_->has(name)) names.push_back(name);
    }
    return names;
  }
  std::vector<std::string> names;
  for (const auto& [name, file] : file_of_) names.push_back(name);
  return names;
}

std::string WeightFolder::actual_name(const std::string& name) const {
  if (base_) return adapter_->whole().contains(name) ? adapter_->whole().at(name) : base_->actual_name(name);
  if (file_of_.contains(name)) return name;
  for (const std::string_view prefix : kPrefixes) {
    if (name.starts_with(prefix) && file_of_.contains(name.substr(prefix.size()))) return name.substr(prefix.size());
  }
  for (const auto& [ending, old] : kOldEndings) {
    if (name.ends_with(ending)) {
      return actual_name(name.substr(0, name.size() - ending.size()) + std::string(old));
    }
  }
  return "";
}

const SafetensorsFile& WeightFolder::file_with(const std::string& name, std::string& found) {
  if (base_ && !adapter_->whole().contains(name)) return base_->file_with(name, found);
  found = actual_name(name);
  if (base_) return adapter_->file();
  if (found.empty()) throw Error(ExitCode::kData, origin_ + ": tensor \"" + name + "\" is missing");
  const std::string& file_name = file_of_.at(found);
  std::unique_ptr<SafetensorsFile>& file = open_[file_name];
  if (!file) file = std::make_unique<SafetensorsFile>(folder_.open(file_name));
  if (file->find(found) == nullptr) {
    throw Error(ExitCode::kData,
                file->path() + ": tensor \"" + found + "\" is missing, but " + kIndexFile + " says it is there");
  }
  return *file;
}

void WeightFolder::check(const std::vector<SavedTensor>& tensors) {
  for (const SavedTensor& tensor : tensors) {
    std::string name;
    const SafetensorsFile& file = file_with(tensor.name, name);
    const std::vector<int64_t>& shape = file.find(name)->shape;
    if (shape != tensor.shape) {
      throw Error(ExitCode::kData, file.path() + ": tensor \"" + name + "\" has shape " + shape_text(shape) +
                                       ", the model needs " + shape_text(tensor.shape));
    }
  }
}

void WeightFolder::check_nothing_else(const std::vector<SavedTensor>& tensors) const {
  if (base_) {
    for (const auto& [name, stored] : adapter_->whole()) {
      const auto is_it = [&plain = name](const SavedTensor& tensor) { return tensor.name == plain; };
      if (is_head(name) || std::ranges::any_of(tensors, is_it)) continue;
      throw Error(ExitCode::kData, origin_ + ": tensor \"" + stored + "\" is not part of the adapted model");
    }
    return base_->check_nothing_else(tensors);
  }
  std::set<std::string> known;
  for (const SavedTensor& tensor : tensors) known.insert(actual_name(tensor.name));
  for (const auto& [name, file] : file_of_) {
    if (known.contains(name) || is_buffer(name) || is_head(name)) continue;
    throw Error(ExitCode::kData, origin_ + ": tensor \"" + name + "\" is not part of the model that config.json says");
  }
}

void WeightFolder::check_equal(const std::string& name, const std::string& copy) {
  constexpr int64_t kPiece = int64_t{1} << 16;
  std::string found;
  const SafetensorsTensor tensor = *file_with(name, found).find(found);
  check({{copy, tensor.shape}});
  std::vector<float> ours;
  std::vector<float> theirs;
  for (int64_t offset = 0; offset < tensor.elements; offset += kPiece) {
    ours.resize(static_cast<size_t>(std::min(kPiece, tensor.elements - offset)));
    theirs.resize(ours.size());
    read(name, offset, ours);
    read(copy, offset, theirs);
    if (ours == theirs) continue;
    throw Error(ExitCode::kData,
                origin_ + ": \"" + copy + "\" differs from \"" + name + "\", to which config.json ties it",
                "set \"tie_word_embeddings\" to false, or remove the tensor");
  }
}

void WeightFolder::read(const std::string& name, int64_t offset, std::span<float> out) {
  if (base_ && !adapter_->whole().contains(name)) {
    base_->read(name, offset, out);
    adapter_->add(name, offset, out);
    return;
  }
  std::string found;
  const SafetensorsFile& file = file_with(name, found);
  file.read_floats(found, offset, out);
  for (size_t i = 0; i < out.size(); ++i) {
    if (std::isfinite(out[i])) continue;
    throw Error(ExitCode::kData, file.path() + ": tensor \"" + found + "\" is not finite at element " +
                                     std::to_string(offset + static_cast<int64_t>(i)));
  }
}

void load_weights(const std::string& folder, const std::vector<SavedTensor>& tensors,
                  const std::vector<StateRange>& ranges) {
  WeightFolder weights(folder);
  weights.check(tensors);
  for (const StateRange& range : ranges) {
    weights.read(tensors[static_cast<size_t>(range.tensor)].name, range.offset,
                 std::span(range.master, static_cast<size_t>(range.length)));
  }
}

}  // namespace tsugi
