// tsugi prepare-images: pictures to learn from and to validate on, as IDX files.
#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/data/folders.h"
#include "core/data/sampler.h"
#include "launch/commands/commands.h"
#include "launch/image_data.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr uint64_t kSplitStream = 0x5911;

struct PrepareImagesOptions {
  std::string images;
  std::string out;
  std::string captions;
  std::string class_captions;
  double validation_fraction = 0.1;
  uint64_t seed = 0;
  bool json = false;
};

/// Captions as the options say, else those that lie beside the pictures.
void add_captions(const PrepareImagesOptions& options, ImageSet& set) {
  if (!options.captions.empty()) set.captions = read_captions(options.captions, set.count());
  if (options.class_captions.empty()) return;
  if (set.labels.empty()) {
    throw Error(ExitCode::kData, set.name + " has no labels, so that --class-captions " + options.class_captions +
                                     " says nothing about its images");
  }
  const std::vector<std::string> of_class =
      read_captions(options.class_captions, static_cast<int64_t>(set.classes.size()));
  set.captions.clear();
  for (const int32_t label : set.labels) set.captions.push_back(of_class[static_cast<size_t>(label)]);
}

int prepare_images(const PrepareImagesOptions& options) {
  ImageSet all = read_images(options.images);
  add_captions(options, all);
  const int64_t count = all.count();
  const int64_t validation = std::llround(options.validation_fraction * static_cast<double>(count));
  if (validation >= count) throw Error(ExitCode::kUsage, "--validation-fraction leaves no image to train on");
  std::vector<int64_t> order;
  for (int64_t i = 0; i < count; ++i) {
    order.push_back(static_cast<int64_t>(
        permute_index(static_cast<uint64_t>(i), static_cast<uint64_t>(count), options.seed, kSplitStream)));
  }
  make_folders(options.out);
  const auto train = std::span(order).first(static_cast<size_t>(count - validation));
  write_idx(select_images(all, train), options.out, "train");
  if (validation > 0) {
    write_idx(select_images(all, std::span(order).subspan(train.size())), options.out, "validation");
  }
  if (options.json) {
    nlohmann::ordered_json json{{"train", count - validation}, {"validation", validation}, {"height", all.height},
                                {"width", all.width},          {"channels", all.channels}, {"classes", all.classes}};
    std::cout << json.dump() << std::endl;
  } else {
    std::cout << count - validation << " images to train on and " << validation << " to validate on, " << all.width
              << "x" << all.height << " pixels, " << all.classes.size() << " classes\nwritten to " << options.out
              << std::endl;
  }
  return 0;
}

}  // namespace

void add_prepare_images(Command app) {
  auto options = std::make_shared<PrepareImagesOptions>();
  Command command = app.subcommand("prepare-images", "Split images into training and validation, as IDX files");
  command
      .option("--images", options->images,
              "a folder of PNG and JPEG files, or of one such folder per class; or an IDX file, also .gz")
      .required();
  command.option("--out", options->out, "folder to write to").required();
  const Option captions =
      command.option("--captions", options->captions, "a text file with a caption on each line, as many as images");
  command
      .option("--class-captions", options->class_captions,
              "a text file with a caption on each line, as many as classes: every image has that of its class")
      .excludes(captions);
  command.option("--validation-fraction", options->validation_fraction, "how many to validate on, drawn at random")
      .show_default()
      .range(0.0, 1.0);
  command.option("--seed", options->seed, "of the draw").show_default();
  command.flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command.run([options] { return prepare_images(*options); });
}

}  // namespace tsugi
