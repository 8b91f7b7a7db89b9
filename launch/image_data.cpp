#include "launch/image_data.h"

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/objective/amdim.h"
#include "core/objective/clip.h"
#include "core/objective/cpc.h"
#include "core/objective/dim.h"
#include "core/objective/image_classification.h"
#include "core/objective/masked_autoencoder.h"
#include "core/objective/moco.h"
#include "core/objective/relative_position.h"
#include "core/objective/simclr.h"
#include "core/objective/supervised_contrastive.h"
#include "core/objective/triplet_views.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr int64_t kFeatureRows = 128;  // pictures at a time

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

/// An objective that compares images with each other; null: none.
template <class F>
std::unique_ptr<Objective> make_contrastive_objective(const RunConfig& config, F&& batches) {
  const ObjectiveConfig& objective = config.objective();
  switch (objective.kind_case()) {
    case ObjectiveConfig::kSimclr:
      return std::make_unique<SimClrObjective>(batches(objective.simclr().augmentation()), objective.simclr());
    case ObjectiveConfig::kSupervisedContrastive: {
      const SupervisedContrastive& supervised = objective.supervised_contrastive();
      return std::make_unique<SupervisedContrastiveObjective>(batches(supervised.augmentation()), supervised);
    }
    case ObjectiveConfig::kTriplet:
      return std::make_unique<TripletObjective>(batches(objective.triplet().augmentation()), objective.triplet());
    case ObjectiveConfig::kMoco:
      return std::make_unique<MoCoObjective>(batches(objective.moco().augmentation()), objective.moco(),
                                             config.batch());
    case ObjectiveConfig::kClip:
      return std::make_unique<ClipObjective>(batches(objective.clip().augmentation()), objective.clip(),
                                             config.model());
    case ObjectiveConfig::kCpc:
      return std::make_unique<CpcObjective>(batches(objective.cpc().augmentation()), objective.cpc());
    case ObjectiveConfig::kDim:
      return std::make_unique<DimObjective>(batches(objective.dim().augmentation()), objective.dim());
    case ObjectiveConfig::kAmdim:
      return std::make_unique<AmdimObjective>(batches(objective.amdim().augmentation()), objective.amdim());
    default:
      return nullptr;
  }
}

/// `batches`: from the augmentation.
std::unique_ptr<ImageClassifier> make_image_classifier(
    const ObjectiveConfig& objective, const std::function<ImageBatches(const Augmentation&)>& batches) {
  using Task = ImageClassifier::Task;
  if (objective.has_rotation()) {
    return std::make_unique<ImageClassifier>(batches(objective.rotation().augmentation()), Task::kRotation);
  }
  if (objective.has_jigsaw()) {
    const JigsawPuzzle& puzzle = objective.jigsaw();
    return std::make_unique<ImageClassifier>(batches(puzzle.augmentation()), Task::kJigsaw, puzzle);
  }
  return std::make_unique<ImageClassifier>(batches(objective.image_classification().augmentation()), Task::kLabels);
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
  const int64_t images = data.train.count();
  const std::string name = data.train.name;
  result.objective = make_contrastive_objective(config, batches);
  if (result.objective != nullptr) {
    const int64_t step = int64_t{config.batch().micro_batch()} * config.batch().micro_batches();
    if (step > images) {
      throw Error(ExitCode::kData,
                  name + " has " + std::to_string(images) + " images, fewer than the " + std::to_string(step) +
                      " of one step: an image would be its own negative",
                  "lower batch.micro_batch or batch.micro_batches");
    }
    return result;
  }
  if (objective.has_relative_position()) {
    const RelativePosition& relative = objective.relative_position();
    result.objective =
        std::make_unique<RelativePositionObjective>(batches(relative.augmentation()), relative, config.model());
    return result;
  }
  if (objective.has_masked_autoencoder()) {
    const MaskedAutoencoder& masked = objective.masked_autoencoder();
    result.objective =
        std::make_unique<MaskedAutoencoderObjective>(batches(masked.augmentation()), masked, config.model());
    return result;
  }
  auto classifier = make_image_classifier(objective, batches);
  result.labels = classifier->classes();
  result.objective = std::move(classifier);
  return result;
}

FeatureTable features_of_images(const ModelFolder& opened, const ImageSet& images) {
  const ModelConfig& model = opened.description.model;
  if (model.family() != ModelConfig::VIT) throw Error(ExitCode::kData, opened.path + " holds no model of images");
  if (images.channels != model.image_channels()) {
    throw Error(ExitCode::kData, images.name + " has images of " + std::to_string(images.channels) +
                                     " channels, the model reads " + std::to_string(model.image_channels()));
  }
  return image_features(opened.context(), *opened.model, images, kFeatureRows);
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
