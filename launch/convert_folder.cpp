#include "launch/convert_folder.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/folder.h"
#include "core/checkpoint/parameter_ranges.h"
#include "core/checkpoint/weight_folder.h"
#include "core/checkpoint/weight_writer.h"
#include "core/data/file.h"
#include "core/data/json.h"
#include "core/data/tokenizer/tokenizer.h"
#include "core/model/folder_texts.h"
#include "core/model/names.h"
#include "core/model/transformer.h"
#include "launch/model_folder.h"
#include "launch/new_folder.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

namespace fs = std::filesystem;

const std::map<std::string, std::string> kTypes{{"f32", "F32"}, {"bf16", "BF16"}, {"f16", "F16"}};
const std::map<std::string, std::string> kTorchNames{{"F32", "float32"}, {"BF16", "bfloat16"}, {"F16", "float16"}};

/// The mean of the rows of a [rows, width] tensor.
std::vector<float> mean_row(WeightFolder& weights, const std::string& name, int64_t rows, int64_t width) {
  std::vector<double> sums(static_cast<size_t>(width));
  std::vector<float> row(static_cast<size_t>(width));
  for (int64_t r = 0; r < rows; ++r) {
    weights.read(name, r * width, row);
    for (size_t i = 0; i < row.size(); ++i) sums[i] += static_cast<double>(row[i]);
  }
  for (size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(sums[i] / static_cast<double>(rows));
  return row;
}

/// A token table, or a bias of tokens, as if it had another number of rows.
class ResizedTable {
 public:
  ResizedTable(WeightFolder& weights, const SavedTensor& tensor, int64_t new_rows)
      : weights_(weights),
        name_(tensor.name),
        rows_(tensor.shape[0]),
        width_(tensor.shape.size() > 1 ? tensor.shape[1] : 1) {
    if (new_rows > rows_) mean_ = mean_row(weights, name_, rows_, width_);
  }
  void read(int64_t offset, std::span<float> out) const {
    const int64_t stored = std::clamp<int64_t>(rows_ * width_ - offset, 0, static_cast<int64_t>(out.size()));
    weights_.read(name_, std::min(offset, rows_ * width_), out.first(static_cast<size_t>(stored)));
    for (auto i = static_cast<size_t>(stored); i < out.size(); ++i) {
      out[i] = mean_[(static_cast<size_t>(offset) + i) % static_cast<size_t>(width_)];
    }
  }

 private:
  WeightFolder& weights_;
  std::string name_;
  int64_t rows_;
  int64_t width_;
  std::vector<float> mean_;
};

std::string stored_type(WeightFolder& weights, const std::string& name) {
  std::string found;
  const SafetensorsFile& file = weights.file_with(name, found);
  const std::string type = file.find(found)->dtype;
  if (!kTorchNames.contains(type)) {
    throw Error(ExitCode::kData,
                file.path() + ": tensor \"" + found + "\" is " + type + "; only F32, BF16 and F16 are read");
  }
  return type;
}

/// Throws Error(kUsage) when a model of `rows` tokens would lose some that its tokenizer or config.json speak of.
void check_lost_tokens(const std::string& from, const HuggingfaceModel& description, int64_t rows) {
  const std::string refused = "--vocabulary " + std::to_string(rows) + " is too few: ";
  const int64_t before = description.model.vocabulary();
  if (rows >= before) return;
  if (fs::exists(from + "/tokenizer.json")) {
    const std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(from + "/tokenizer.json");
    if (tokenizer->vocabulary() > rows) {
      constexpr int64_t kShown = 3;
      std::string lost;
      for (int64_t id = rows; id < std::min(rows + kShown, tokenizer->vocabulary()); ++id) {
        std::string token;
        tokenizer->append_token(static_cast<int32_t>(id), token);
        // A token may be a part of a character.
        lost += (lost.empty() ? "" : ", ") +
                nlohmann::json(token).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + " (id " +
                std::to_string(id) + ")";
      }
      if (tokenizer->vocabulary() > rows + kShown) lost += " …";
      throw Error(ExitCode::kUsage,
                  refused + from + "/tokenizer.json has " + std::to_string(tokenizer->vocabulary()) +
                      " ids; lost would be " + lost,
                  "give " + std::to_string(tokenizer->vocabulary()) + " or more");
    }
  }
  for (const auto& [field, text] : description.token_ids) {
    const JsonValue value = parse_json(text, field);
    for (const JsonValue& id : value.is_array() ? value.elements() : std::vector<JsonValue>{value}) {
      if (id.as_int() < rows || id.as_int() >= before) continue;
      throw Error(ExitCode::kUsage, refused + from + "/config.json has " + field + " " + std::to_string(id.as_int()),
                  "give " + std::to_string(id.as_int() + 1) + " or more");
    }
  }
}

}  // namespace

Converted convert_folder(const ConvertOptions& options) {
  Converted result;
  result.from = resolve_checkpoint(options.from);
  if (fs::exists(result.from + "/manifest.json")) verify_checkpoint(result.from);
  result.description = describe_folder(result.from);
  refuse_bottlenecks(result.description, result.from, "a folder to export");
  ModelConfig& model = result.description.model;

  const std::vector<SavedTensor> tensors = folder_tensors(result.description);
  WeightFolder weights(result.from);
  check_folder(weights, result.description);
  const TensorNames names = tensor_names(model);
  std::vector<SafetensorsSpec> specs;
  std::map<std::string, ResizedTable> resized;
  std::map<std::string, int64_t> types;
  const int64_t rows = options.vocabulary > 0 ? options.vocabulary : model.vocabulary();
  check_lost_tokens(result.from, result.description, rows);
  for (const SavedTensor& tensor : tensors) {
    const std::string type = options.dtype.empty() ? stored_type(weights, tensor.name) : kTypes.at(options.dtype);
    specs.push_back({tensor.name, type, tensor.shape});
    ++types[type];
    if (tensor.name != names.token_table + ".weight" && tensor.name != names.output + ".weight" &&
        tensor.name != names.output_bias) {
      continue;
    }
    if (rows == model.vocabulary()) continue;
    specs.back().shape[0] = rows;
    resized.try_emplace(tensor.name, weights, tensor, rows);
  }
  for (const SafetensorsSpec& spec : specs) {
    int64_t elements = 1;
    for (const int64_t dimension : spec.shape) elements *= dimension;
    result.parameters += elements;
    result.bytes += elements * safetensors_bits(spec.dtype) / 8;
  }
  model.set_vocabulary(rows);
  const auto most =
      std::max_element(types.begin(), types.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  result.description.dtype = kTorchNames.at(most->first);

  NewFolder out(options.out);
  write_weights(
      out.path(), specs,
      [&](size_t index, int64_t offset, std::span<float> values) {
        const auto table = resized.find(specs[index].name);
        if (table != resized.end()) {
          table->second.read(offset, values);
        } else {
          weights.read(specs[index].name, offset, values);
        }
      },
      options.max_shard_bytes);
  std::map<std::string, std::string> texts = carried_texts(result.from);
  texts["config.json"] = to_huggingface_config(result.description);
  if (generates(result.description)) {
    texts.try_emplace("generation_config.json", to_generation_config(result.description));
  }
  const Folder folder(out.path());
  for (const auto& [name, text] : texts) folder.write_text(name, text);
  out.commit();
  return result;
}

}  // namespace tsugi
