// Small pictures, objectives of them and training in this process.
#pragma once

#include <gtest/gtest.h>

#include "core/config/config.h"
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
#include "core/train/engine.h"
#include "tests/dist/thread_communicator.h"

namespace tsugi::testing {

/// Stripes, upright in class 0 and lying in class 1, with a phase and some noise, and captions that say so.
inline ImageSet striped_images(int64_t count, uint64_t seed) {
  ImageSet set{"made", 8, 8, 1, {}, {}, {"upright", "lying"}};
  for (int64_t i = 0; i < count; ++i) {
    const RandomStream stream{seed, static_cast<uint64_t>(i), 0};
    const auto phase = static_cast<int64_t>(stream.word(0) % 4);
    set.labels.push_back(static_cast<int32_t>(stream.word(1) % 2));
    set.captions.push_back(set.classes[static_cast<size_t>(set.labels.back())]);
    for (int64_t y = 0; y < 8; ++y) {
      for (int64_t x = 0; x < 8; ++x) {
        const int64_t along = set.labels.back() == 0 ? x : y;
        const bool bright = (along + phase) % 4 < 2;
        set.pixels.push_back(
            static_cast<uint8_t>((bright ? 180 : 20) + stream.word(static_cast<uint64_t>(2 + 8 * y + x)) % 50));
      }
    }
  }
  return set;
}

inline RunConfig image_config(const std::string& objective, const std::vector<std::string>& overrides = {}) {
  RunConfig config;
  parse_config(R"(
      steps: 4
      model { family: VIT layers: 2 heads: 2 width: 16 image_size: 8 patch_size: 4 image_channels: 1
              pooling: MEAN_OF_PATCHES }
      data { train: "unused" }
      batch { micro_batch: 4 micro_batches: 4 }
      optimizer { learning_rate: 3e-3 weight_decay: 0 }
      dist { bucket_megabytes: 1 }
      objective { )" +
                   objective + " }",
               "test", overrides, config);
  validate_run(config);
  return config;
}

inline constexpr const char* kSimClr =
    "simclr { temperature: 0.2 projection_width: 8 augmentation { smallest_crop: 0.4 flip: 0.5 "
    "brightness: 0.4 contrast: 0.4 blur: 0.3 } }";

inline std::unique_ptr<Objective> image_objective(const RunConfig& config) {
  const ObjectiveConfig& objective = config.objective();
  const auto batches = [&](const Augmentation& augmentation) {
    return ImageBatches({striped_images(50, 1), striped_images(22, 2)}, config.model(), augmentation, config.seed());
  };
  switch (objective.kind_case()) {
    case ObjectiveConfig::kSimclr:
      return std::make_unique<SimClrObjective>(batches(objective.simclr().augmentation()), objective.simclr());
    case ObjectiveConfig::kSupervisedContrastive:
      return std::make_unique<SupervisedContrastiveObjective>(
          batches(objective.supervised_contrastive().augmentation()), objective.supervised_contrastive());
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
    case ObjectiveConfig::kJigsaw:
      return std::make_unique<ImageClassifier>(batches(objective.jigsaw().augmentation()),
                                               ImageClassifier::Task::kJigsaw, objective.jigsaw());
    case ObjectiveConfig::kRelativePosition:
      return std::make_unique<RelativePositionObjective>(batches(objective.relative_position().augmentation()),
                                                         objective.relative_position(), config.model());
    case ObjectiveConfig::kMaskedAutoencoder:
      return std::make_unique<MaskedAutoencoderObjective>(batches(objective.masked_autoencoder().augmentation()),
                                                          objective.masked_autoencoder(), config.model());
    default:
      break;
  }
  const bool rotation = objective.has_rotation();
  return std::make_unique<ImageClassifier>(
      batches(rotation ? objective.rotation().augmentation() : objective.image_classification().augmentation()),
      rotation ? ImageClassifier::Task::kRotation : ImageClassifier::Task::kLabels);
}

struct ImageOutcome {
  std::vector<double> losses, norms;
  std::string weights;
  std::string state;  ///< of the objective
  double validation = 0.0;
  double accuracy = 0.0;
  int64_t targets = 0;
};

inline ImageOutcome train_images(const RunConfig& config, int ranks, int threads) {
  std::vector<ImageOutcome> outcomes(static_cast<size_t>(ranks));
  run_ranks(ranks, [&](Communicator& communicator) {
    ThreadPool pool(threads);
    const std::unique_ptr<Objective> objective = image_objective(config);
    Engine engine(pool, communicator, config, *objective, {});
    engine.optimizer().initialize(config.seed());
    objective->start();
    ImageOutcome& outcome = outcomes[static_cast<size_t>(communicator.rank())];
    for (int64_t step = 0; step < config.steps(); ++step) {
      const StepReport report = engine.step(step + 1, static_cast<uint64_t>(step * engine.samples_per_step()),
                                            config.optimizer().learning_rate());
      outcome.losses.push_back(report.loss);
      outcome.norms.push_back(report.gradient_norm);
      outcome.targets = report.targets;
    }
    const Tensor& weights = engine.store().working();
    outcome.weights.assign(static_cast<const char*>(weights.raw()), weights.bytes());
    for (const StateRange& range : objective->state().ranges) {
      outcome.state.append(reinterpret_cast<const char*>(range.master),
                           static_cast<size_t>(range.length) * sizeof(float));
    }
    const EvaluationReport evaluation = engine.evaluate();
    outcome.validation = evaluation.loss;
    outcome.accuracy = static_cast<double>(evaluation.correct) / static_cast<double>(evaluation.targets);
  });
  for (const ImageOutcome& other : outcomes) {
    EXPECT_EQ(other.losses, outcomes[0].losses);
    EXPECT_TRUE(other.weights == outcomes[0].weights) << "ranks hold different weights";
    EXPECT_TRUE(other.state == outcomes[0].state) << "ranks keep different states of the objective";
  }
  return outcomes[0];
}

}  // namespace tsugi::testing
