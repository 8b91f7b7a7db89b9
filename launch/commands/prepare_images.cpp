// tsugi prepare-images: pictures to learn from and to validate on, as IDX files.
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

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
  double validation_fraction = 0.1;
  uint64_t seed = 0;
  bool json = false;
};

int prepare_images(const PrepareImagesOptions& options) {
  const ImageSet all = read_images(options.images);
  const int64_t count = all.count();
  const auto validation = static_cast<int64_t>(options.validation_fraction * static_cast<double>(count) + 0.5);
  if (validation >= count) throw Error(ExitCode::kUsage, "--validation-fraction leaves no image to train on");
  std::vector<int64_t> order;
  for (int64_t i = 0; i < count; ++i) {
    order.push_back(static_cast<int64_t>(
        permute_index(static_cast<uint64_t>(i), static_cast<uint64_t>(count), options.seed, kSplitStream)));
  }
  std::filesystem::create_directories(options.out);
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
  command.option("--validation-fraction", options->validation_fraction, "how many to validate on, drawn at random")
      .show_default()
      .range(0.0, 1.0);
  command.option("--seed", options->seed, "of the draw").show_default();
  command.flag("--json", options->json, "print the result as one JSON object, and nothing else");
  command.run([options] { return prepare_images(*options); });
}

}  // namespace tsugi
