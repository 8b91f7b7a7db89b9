// tsugi embed: what a checkpoint makes of pictures or texts, a row of numbers each, for other programs.
#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "core/config/families.h"
#include "core/data/file.h"
#include "core/data/folders.h"
#include "core/data/json_lines.h"
#include "core/data/npy.h"
#include "core/downstream/text_batches.h"
#include "launch/commands/commands.h"
#include "launch/image_data.h"
#include "launch/model_folder.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr int64_t kEmbeddedTexts = 16;  // at a time

struct EmbedOptions {
  std::string checkpoint;
  std::string images;
  std::string part = "train";
  std::string texts;
  std::string pooling = "mean";
  std::string out;
  int threads = 0;
  DeviceArguments computing;
  bool json = false;
};

/// Features, and what their labels are called.
struct Embedding {
  FeatureTable table;
  std::vector<std::string> classes;
};

/// "text" of every line; and of each "label", if all have one, the place among those that occur.
Embedding embed_texts(const ModelFolder& opened, const EmbedOptions& options) {
  if (opened.description.model.family() == ModelConfig::VIT) {
    throw Error(ExitCode::kData, opened.path + " holds a model of images: it reads no texts",
                "name them with --images");
  }
  if (has_decoder(opened.description.model)) {
    throw Error(ExitCode::kData, opened.path + " has an encoder and a decoder, of which no features are built");
  }
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(opened.path, "features of texts");
  std::vector<std::vector<int32_t>> texts;
  std::vector<std::string> names;
  for_each_json_line(options.texts, [&](const JsonValue& line) {
    texts.push_back(tokenizer->encode(line.require_string("text")));
    if (!line.has("label")) return;
    const JsonValue label = line.require("label");
    names.push_back(label.is_integer() ? std::to_string(label.as_int()) : label.as_string());
  });
  if (texts.empty()) throw Error(ExitCode::kData, options.texts + ": no texts", R"(write one {"text": "…"} a line)");
  if (!names.empty() && names.size() != texts.size()) {
    throw Error(ExitCode::kData,
                options.texts + ": of " + std::to_string(texts.size()) + " texts only " + std::to_string(names.size()) +
                    " have the field label",
                "label all of them, or none");
  }
  const TextPooling pooling = options.pooling == "mean"    ? TextPooling::kMean
                              : options.pooling == "first" ? TextPooling::kFirst
                                                           : TextPooling::kLast;
  Embedding embedding;
  embedding.table = text_features(opened.context(), *opened.model, texts, pooling, kEmbeddedTexts);
  const std::set<std::string> occurring(names.begin(), names.end());
  embedding.classes.assign(occurring.begin(), occurring.end());
  for (const std::string& name : names) {
    const auto place = std::ranges::lower_bound(embedding.classes, name);
    embedding.table.labels.push_back(static_cast<int32_t>(place - embedding.classes.begin()));
  }
  return embedding;
}

int write_embedding(const EmbedOptions& options) {
  const ModelFolder opened = open_model(options.checkpoint, options.threads, options.computing);
  Embedding embedding;
  if (options.texts.empty()) {
    ImageSet images = open_images(options.images, options.part);
    embedding.table = features_of_images(opened, images);
    embedding.classes = std::move(images.classes);
  } else {
    embedding = embed_texts(opened, options);
  }
  const FeatureTable& table = embedding.table;
  std::string rows;
  for (int64_t row = 0; row < table.rows(); ++row) {
    nlohmann::ordered_json line{{"row", row}};
    if (!table.labels.empty()) {
      line["label"] = embedding.classes[static_cast<size_t>(table.labels[static_cast<size_t>(row)])];
    }
    rows += line.dump() + "\n";
  }
  make_folders(options.out);
  write_file_durably(options.out + "/features.npy", npy_text(table.values, table.rows()));
  if (!table.labels.empty()) write_file_durably(options.out + "/labels.npy", npy_text(table.labels));
  write_file_durably(options.out + "/rows.jsonl", rows);
  if (options.json) {
    nlohmann::ordered_json json{{"rows", table.rows()}, {"width", table.width}, {"classes", embedding.classes}};
    std::cout << json.dump() << std::endl;
  } else {
    std::cout << table.rows() << " rows of " << table.width << " features, " << embedding.classes.size()
              << " classes\nwritten to " << options.out << std::endl;
  }
  return 0;
}

}  // namespace

void add_embed(Command app) {
  auto options = std::make_shared<EmbedOptions>();
  Command command =
      app.subcommand("embed", "Write a checkpoint's features of images or texts: features.npy, labels.npy, rows.jsonl");
  command.option("--checkpoint", options->checkpoint, "checkpoint folder, or run directory (newest)").required();
  Command what = command.group("data", "What to embed");
  Option images = what.option("--images", options->images,
                              "images: a folder of prepare-images, of images, of classes, or an IDX file");
  Option texts = what.option("--texts", options->texts, "JSONL with \"text\", and \"label\" if it is known");
  what.require_one();
  command.option("--part", options->part, "of a folder of prepare-images")
      .show_default()
      .one_of({"train", "validation"})
      .needs(images);
  command
      .option(
          "--pooling", options->pooling,
          "what stands for a text: the mean of its tokens' outputs, the first (encoders of BERT's kind) or the last "
          "(models that look back); an image has the model's own pooling")
      .show_default()
      .one_of({"mean", "first", "last"})
      .needs(texts);
  command.option("--out", options->out, "folder to write to").required();
  command.option("--threads", options->threads, "0: all CPUs").show_default().range(0, 4096);
  add_device_options(command, options->computing);
  command.flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command.run([options] { return write_embedding(*options); });
}

}  // namespace tsugi
