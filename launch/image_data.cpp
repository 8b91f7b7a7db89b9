#include "launch/image_data.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/objective/image_classification.h"
#include "core/objective/simclr.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

std::string describe_images(const ImageSet& set) {
  std::string text = set.name + ": " + std::to_string(set.count()) + " images of " + std::to_string(set.width) + "x" +
                     std::to_string(set.height) + " pixels in " + std::to_string(set.channels) + " channel(s)";
  if (!set.labels.empty()) text += ", " + std::to_string(set.classes.size()) + " classes";
  return text;
}

/// Where to validate: as the configuration says, or what `tsugi prepare-images` has put beside the training images.
std::string validation_images(const DataConfig& config) {
  if (!config.validation().empty()) return config.validation();
  return std::filesystem::is_directory(config.train()) ? find_idx(config.train(), "validation") : "";
}

}  // namespace

ImageSet open_images(const std::string& path, const std::string& stem) {
  if (std::filesystem::is_directory(path)) {
    if (const std::string prepared = find_idx(path, stem); !prepared.empty()) return read_images(prepared);
  }
  return read_images(path);
}

ImageObjective make_image_objective(const RunConfig& config) {
  ImageData data{open_images(config.data().train()), {}};
  if (const std::string validation = validation_images(config.data()); !validation.empty()) {
    data.validation = open_images(validation, "validation");
  }
  ImageObjective result;
  result.description = describe_images(data.train);
  if (data.validation) result.description += "\n" + describe_images(*data.validation) + ", to validate on";
  const ObjectiveConfig& objective = config.objective();
  const auto batches = [&](const Augmentation& augmentation) {
    return ImageBatches(std::move(data), config.model(), augmentation, config.seed());
  };
  if (objective.has_simclr()) {
    const int64_t step = int64_t{config.batch().micro_batch()} * config.batch().micro_batches();
    if (step > data.train.count()) {
      throw Error(ExitCode::kData,
                  data.train.name + " has " + std::to_string(data.train.count()) + " images, fewer than the " +
                      std::to_string(step) + " of one step: an image would be its own negative",
                  "lower batch.micro_batch or batch.micro_batches");
    }
    result.objective =
        std::make_unique<SimClrObjective>(batches(objective.simclr().augmentation()), objective.simclr());
    return result;
  }
  const bool rotation = objective.has_rotation();
  auto classifier = std::make_unique<ImageClassifier>(
      batches(rotation ? objective.rotation().augmentation() : objective.image_classification().augmentation()),
      rotation ? ImageClassifier::Task::kRotation : ImageClassifier::Task::kLabels);
  result.labels = classifier->classes();
  result.objective = std::move(classifier);
  return result;
}

std::string image_processor_text(const ModelConfig& model) {
  const std::vector<double> halves(static_cast<size_t>(model.image_channels()), 0.5);
  nlohmann::ordered_json json;
  json["image_processor_type"] = "ViTImageProcessor";
  json["do_resize"] = true;
  json["size"] = {{"height", model.image_size()}, {"width", model.image_size()}};
  json["resample"] = 2;  // bilinear
  json["do_rescale"] = true;
  json["rescale_factor"] = 1.0 / 255.0;
  json["do_normalize"] = true;
  json["image_mean"] = halves;
  json["image_std"] = halves;
  return json.dump(2) + "\n";
}

}  // namespace tsugi
