#include "launch/clip_folder.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/folder.h"
#include "core/checkpoint/weight_folder.h"
#include "core/checkpoint/weight_writer.h"
#include "core/config/config.h"
#include "core/data/file.h"
#include "core/data/tokenizer/tokenizer.h"
#include "core/objective/clip.h"
#include "launch/model_folder.h"
#include "launch/new_folder.h"
#include "ops/base/error.h"
#include "ops/logit_scale/logit_scale.h"

namespace tsugi {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kEndName = "<|endoftext|>";
constexpr const char* kPreprocessor = "preprocessor_config.json";
constexpr int64_t kMaxTextBytes = int64_t{1} << 20;
const std::map<std::string, std::string> kClipTypes{{"", "F32"}, {"f32", "F32"}, {"bf16", "BF16"}, {"f16", "F16"}};
const std::map<std::string, std::string> kClipTorchNames{{"F32", "float32"}, {"BF16", "bfloat16"}, {"F16", "float16"}};

/// A tensor to be written.
struct ClipTensor {
  SafetensorsSpec spec;
  std::function<std::vector<float>()> values;
};

/// Reads what the checkpoint has and says how it goes into the folder.
class ClipTensors {
 public:
  ClipTensors(WeightFolder& weights, std::string type) : weights_(weights), type_(std::move(type)) {}

  /// `from` [shape] as it is.
  void copy(const std::string& to, const std::string& from, const std::vector<int64_t>& shape) {
    weights_.check({{from, shape}});
    add(to, shape, [this, from, shape] { return read(from, shape); });
  }
  /// Columns [first, first + out) of `from` [in, columns], as [out, in]: our GPT-2 has weights by inputs, theirs by
  /// outputs.
  void turn(const std::string& to, const std::string& from, int64_t in, int64_t columns, int64_t first, int64_t out) {
    weights_.check({{from, {in, columns}}});
    add(to, {out, in}, [this, from, in, columns, first, out] {
      const std::vector<float> all = read(from, {in, columns});
      std::vector<float> result(static_cast<size_t>(in * out));
      for (int64_t i = 0; i < in; ++i) {
        for (int64_t o = 0; o < out; ++o) {
          result[static_cast<size_t>(o * in + i)] = all[static_cast<size_t>(i * columns + first + o)];
        }
      }
      return result;
    });
  }
  /// Elements [first, first + out) of `from` [all].
  void cut(const std::string& to, const std::string& from, int64_t all, int64_t first, int64_t out) {
    weights_.check({{from, {all}}});
    add(to, {out}, [this, from, first, out] {
      std::vector<float> result(static_cast<size_t>(out));
      weights_.read(from, first, result);
      return result;
    });
  }
  void add(const std::string& to, std::vector<int64_t> shape, std::function<std::vector<float>()> values) {
    tensors_.push_back({{to, type_, std::move(shape)}, std::move(values)});
  }
  const std::vector<ClipTensor>& all() const { return tensors_; }

 private:
  std::vector<float> read(const std::string& name, const std::vector<int64_t>& shape) {
    int64_t elements = 1;
    for (const int64_t dimension : shape) elements *= dimension;
    std::vector<float> values(static_cast<size_t>(elements));
    weights_.read(name, 0, values);
    return values;
  }

  WeightFolder& weights_;
  std::string type_;
  std::vector<ClipTensor> tensors_;
};

void add_captions_model(ClipTensors& tensors, const ModelConfig& text) {
  const std::string from = "objective.transformer.";
  const std::string to = "text_model.";
  const int64_t width = text.width();
  const int64_t inner = text.mlp_width();
  const auto norm = [&](const std::string& their, const std::string& our) {
    for (const char* part : {".weight", ".bias"}) tensors.copy(to + their + part, from + our + part, {width});
  };
  tensors.copy(to + "embeddings.token_embedding.weight", from + "wte.weight", {text.vocabulary(), width});
  tensors.copy(to + "embeddings.position_embedding.weight", from + "wpe.weight", {text.context(), width});
  for (int64_t layer = 0; layer < text.layers(); ++layer) {
    const std::string theirs = "encoder.layers." + std::to_string(layer) + ".";
    const std::string ours = "h." + std::to_string(layer) + ".";
    norm(theirs + "layer_norm1", ours + "ln_1");
    norm(theirs + "layer_norm2", ours + "ln_2");
    const auto linear = [&](const std::string& their, const std::string& our, int64_t in, int64_t columns,
                            int64_t first, int64_t out) {
      tensors.turn(to + theirs + their + ".weight", from + ours + our + ".weight", in, columns, first, out);
      tensors.cut(to + theirs + their + ".bias", from + ours + our + ".bias", columns, first, out);
    };
    const char* const names[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};
    for (int64_t i = 0; i < 3; ++i) linear(names[i], "attn.c_attn", width, 3 * width, i * width, width);
    linear("self_attn.out_proj", "attn.c_proj", width, width, 0, width);
    linear("mlp.fc1", "mlp.c_fc", width, inner, 0, inner);
    linear("mlp.fc2", "mlp.c_proj", inner, width, 0, width);
  }
  norm("final_layer_norm", "ln_f");
}

/// The pictures' model as ViTModel, with a pooler that gives the class token as it is.
void add_pictures_model(ClipTensors& tensors, const HuggingfaceModel& description) {
  constexpr std::string_view kPrefix = "vit.";
  for (const SavedTensor& tensor : folder_tensors(description)) {
    const bool prefixed = tensor.name.starts_with(kPrefix);
    tensors.copy("vision_model." + tensor.name.substr(prefixed ? kPrefix.size() : 0), tensor.name, tensor.shape);
  }
  const int64_t width = description.model.width();
  tensors.add("vision_model.pooler.dense.weight", {width, width}, [width] {
    std::vector<float> one(static_cast<size_t>(width * width));
    for (int64_t i = 0; i < width; ++i) one[static_cast<size_t>(i * width + i)] = 1.0f;
    return one;
  });
  tensors.add("vision_model.pooler.dense.bias", {width},
              [width] { return std::vector<float>(static_cast<size_t>(width)); });
}

Json captions_config(const ModelConfig& text, int64_t projection) {
  Json json;
  json["architectures"] = {"CLIPTextModelWithProjection"};
  json["model_type"] = "clip_text_model";
  json["hidden_size"] = text.width();
  json["intermediate_size"] = text.mlp_width();
  json["num_hidden_layers"] = text.layers();
  json["num_attention_heads"] = text.heads();
  json["max_position_embeddings"] = text.context();
  json["vocab_size"] = text.vocabulary();
  json["projection_dim"] = projection;
  json["hidden_act"] = "gelu_new";
  json["layer_norm_eps"] = text.norm_epsilon();
  json["attention_dropout"] = 0.0;
  json["bos_token_id"] = nullptr;
  // What stands behind the first end is not seen: padding may be anything.
  json["pad_token_id"] = kEndOfCaption;
  json["eos_token_id"] = kEndOfCaption;
  return json;
}

/// Bytes, and the end behind each text.
std::string captions_tokenizer() {
  Json json = Json::parse(make_byte_tokenizer()->to_json());
  json["added_tokens"] = {{{"id", kEndOfCaption},
                           {"content", kEndName},
                           {"single_word", false},
                           {"lstrip", false},
                           {"rstrip", false},
                           {"normalized", false},
                           {"special", true}}};
  const Json text{{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json second{{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
  const Json end{{"SpecialToken", {{"id", kEndName}, {"type_id", 0}}}};
  Json names;
  names[kEndName] = {{"id", kEndName}, {"ids", {kEndOfCaption}}, {"tokens", {kEndName}}};
  json["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", Json::array({text, end})},
                            {"pair", Json::array({text, end, second, end})},
                            {"special_tokens", names}};
  return json.dump(2) + "\n";
}

std::string captions_tokenizer_config(const ModelConfig& text) {
  const Json json{{"tokenizer_class", "PreTrainedTokenizerFast"},
                  {"model_max_length", text.context()},
                  {"clean_up_tokenization_spaces", false},
                  {"eos_token", kEndName},
                  {"pad_token", kEndName}};
  return json.dump(2) + "\n";
}

}  // namespace

ConvertedClip convert_clip(const ConvertOptions& options, ClipPart part) {
  ConvertedClip result;
  result.from = resolve_checkpoint(options.from);
  verify_checkpoint(result.from);
  RunConfig run;
  parse_config(load_run_state(result.from).config_text, result.from + "/state/run.json", {}, run);
  if (!run.objective().has_clip()) {
    throw Error(ExitCode::kUsage,
                result.from + " was not trained with objective.clip, so that it has no model of captions",
                "export it without --as");
  }
  const bool both = part == ClipPart::kBoth;
  const HuggingfaceModel pictures = describe_folder(result.from);
  if (both && pictures.model.pooling() != ModelConfig::CLASS_TOKEN) {
    throw Error(ExitCode::kUsage,
                result.from + ": model.pooling " + ModelConfig::Pooling_Name(pictures.model.pooling()) +
                    " is nothing that transformers' VisionTextDualEncoderModel has: its ViTModel gives the class token",
                "train with model.pooling: CLASS_TOKEN, or export the captions' model (--as text)");
  }
  const Clip& clip = run.objective().clip();
  const ModelConfig text = caption_model(clip, 0.0f);
  const int64_t projection = clip.projection_width();

  WeightFolder weights(result.from);
  ClipTensors tensors(weights, kClipTypes.at(options.dtype));
  add_captions_model(tensors, text);
  tensors.copy("text_projection.weight", "objective.text_projection.weight", {projection, text.width()});
  Json config = captions_config(text, projection);
  if (both) {
    add_pictures_model(tensors, pictures);
    tensors.copy("visual_projection.weight", "objective.visual_projection.weight",
                 {projection, pictures.model.width()});
    float offset = 0.0f;
    weights.check({{"objective.logit_scale_offset", {1}}});
    weights.read("objective.logit_scale_offset", 0, {&offset, 1});
    const double scale = std::log(logit_scale(1.0 / static_cast<double>(clip.temperature()), offset));
    tensors.add("logit_scale", {}, [scale] { return std::vector<float>{static_cast<float>(scale)}; });
    Json vision = Json::parse(to_huggingface_config(pictures));
    vision["pooler_act"] = "linear";
    vision["pooler_output_size"] = pictures.model.width();
    Json of_both{{"architectures", {"VisionTextDualEncoderModel"}},
                 {"model_type", "vision-text-dual-encoder"},
                 {"projection_dim", projection},
                 {"logit_scale_init_value", scale}};
    of_both["vision_config"] = vision;
    of_both["text_config"] = config;
    config = of_both;
  }
  config["torch_dtype"] = kClipTorchNames.at(kClipTypes.at(options.dtype));
  result.model_type = config["model_type"];

  std::vector<SafetensorsSpec> specs;
  for (const ClipTensor& tensor : tensors.all()) {
    specs.push_back(tensor.spec);
    int64_t elements = 1;
    for (const int64_t dimension : tensor.spec.shape) elements *= dimension;
    result.parameters += elements;
    result.bytes += elements * safetensors_bits(tensor.spec.dtype) / 8;
  }
  NewFolder out(options.out);
  size_t held = specs.size();
  std::vector<float> values;
  write_weights(
      out.path(), specs,
      [&](size_t index, int64_t offset, std::span<float> to) {
        if (held != index) values = tensors.all()[held = index].values();
        std::copy_n(values.begin() + offset, to.size(), to.begin());
      },
      options.max_shard_bytes);
  const Folder folder(out.path());
  folder.write_text("config.json", config.dump(2) + "\n");
  folder.write_text("tokenizer.json", captions_tokenizer());
  folder.write_text("tokenizer_config.json", captions_tokenizer_config(text));
  if (both && std::filesystem::exists(result.from + "/" + kPreprocessor)) {
    folder.write_text(kPreprocessor, read_file(result.from + "/" + kPreprocessor, kMaxTextBytes));
  }
  out.commit();
  return result;
}

}  // namespace tsugi
