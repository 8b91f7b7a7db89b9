// `tsugi import` and `tsugi export`.
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "launch/clip_folder.h"
#include "launch/commands/commands.h"
#include "launch/convert_folder.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct Options {
  ConvertOptions convert;
  std::string as = "model";
  bool json = false;
};

int run_convert_clip(const Options& options) {
  const ConvertedClip converted =
      convert_clip(options.convert, options.as == "text" ? ClipPart::kText : ClipPart::kBoth);
  const nlohmann::ordered_json json{{"from", converted.from},
                                    {"out", options.convert.out},
                                    {"model_type", converted.model_type},
                                    {"parameters", converted.parameters},
                                    {"bytes", converted.bytes}};
  if (options.json) {
    std::cout << json.dump() << std::endl;
  } else {
    std::cout << options.convert.out << ": " << converted.model_type << ", " << converted.parameters << " parameters"
              << std::endl;
  }
  return 0;
}

int run_convert(const Options& options) {
  const Converted converted = convert_folder(options.convert);
  const ModelConfig& model = converted.description.model;
  nlohmann::ordered_json json;
  json["from"] = converted.from;
  json["out"] = options.convert.out;
  json["model_type"] = huggingface_model_type(model);
  json["family"] = ModelConfig::Family_Name(model.family());
  json["parameters"] = converted.parameters;
  json["vocabulary"] = model.vocabulary();
  json["dtype"] = converted.description.dtype;
  json["bytes"] = converted.bytes;
  if (options.json) {
    std::cout << json.dump() << std::endl;
  } else {
    std::cout << options.convert.out << ": " << json["model_type"].get<std::string>() << ", " << converted.parameters
              << " parameters, vocabulary " << model.vocabulary() << ", " << converted.description.dtype << std::endl;
  }
  return 0;
}

void add_common(Command command, Options& options) {
  command.option("--out", options.convert.out, "folder to write; must not exist").required();
  command.option("--dtype", options.convert.dtype, "type of the weights; default: as they are stored")
      .one_of({"f32", "bf16", "f16"});
  command
      .option("--max-shard-bytes", options.convert.max_shard_bytes,
              "weights beyond this go into several files with an index")
      .show_default()
      .range(int64_t{1}, int64_t{1} << 60);
  command.flag("--json", options.json, "print the result as one JSON object, and nothing else");
}

}  // namespace

void add_import(Command app) {
  auto options = std::make_shared<Options>();
  Command command =
      app.subcommand("import", "Check a Hugging Face folder and write it as this program does; resize a vocabulary");
  command.option("--from", options->convert.from, "Hugging Face folder").required();
  command
      .option("--vocabulary", options->convert.vocabulary,
              "tokens afterwards: new rows are the mean of the old ones; 0: as it is")
      .show_default()
      .range(int64_t{0}, int64_t{2'000'000'000});
  add_common(command, *options);
  command.run([options] { return run_convert(*options); });
}

void add_export(Command app) {
  auto options = std::make_shared<Options>();
  Command command = app.subcommand("export", "Write a checkpoint as a Hugging Face folder, without training state");
  command.option("--checkpoint", options->convert.from, "run directory (newest checkpoint), or checkpoint folder")
      .required();
  command
      .option("--as", options->as,
              "model: the model; of objective.clip also text: captions' model and projection "
              "(CLIPTextModelWithProjection), "
              "dual-encoder: both (VisionTextDualEncoderModel)")
      .show_default()
      .one_of({"model", "text", "dual-encoder"});
  add_common(command, *options);
  command.run([options] { return options->as == "model" ? run_convert(*options) : run_convert_clip(*options); });
}

}  // namespace tsugi
