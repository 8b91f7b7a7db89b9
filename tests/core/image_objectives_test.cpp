// Objectives of pictures: views as functions of the sample, the same bits on any number of ranks and threads, the same
// gradient however the global batch is cut.
#include <gtest/gtest.h>

#include <cmath>

#include "core/config/config.h"
#include "core/objective/image_classification.h"
#include "core/objective/simclr.h"
#include "core/train/engine.h"
#include "ops/base/error.h"
#include "tests/dist/thread_communicator.h"

namespace tsugi {
namespace {

/// Stripes, upright in class 0 and lying in class 1, with a phase and some noise.
ImageSet striped_images(int64_t count, uint64_t seed) {
  ImageSet set{"made", 8, 8, 1, {}, {}, {"upright", "lying"}};
  for (int64_t i = 0; i < count; ++i) {
    const RandomStream stream{seed, static_cast<uint64_t>(i), 0};
    const auto phase = static_cast<int64_t>(stream.word(0) % 4);
    set.labels.push_back(static_cast<int32_t>(stream.word(1) % 2));
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

RunConfig image_config(const std::string& objective, const std::vector<std::string>& overrides = {}) {
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

const char* const kSimClr =
    "simclr { temperature: 0.2 projection_width: 8 augmentation { smallest_crop: 0.4 flip: 0.5 "
    "brightness: 0.4 contrast: 0.4 blur: 0.3 } }";

std::unique_ptr<Objective> image_objective(const RunConfig& config) {
  const ObjectiveConfig& objective = config.objective();
  const auto batches = [&](const Augmentation& augmentation) {
    return ImageBatches({striped_images(50, 1), striped_images(22, 2)}, config.model(), augmentation, config.seed());
  };
  if (objective.has_simclr()) {
    return std::make_unique<SimClrObjective>(batches(objective.simclr().augmentation()), objective.simclr());
  }
  const bool rotation = objective.has_rotation();
  return std::make_unique<ImageClassifier>(
      batches(rotation ? objective.rotation().augmentation() : objective.image_classification().augmentation()),
      rotation ? ImageClassifier::Task::kRotation : ImageClassifier::Task::kLabels);
}

struct ImageOutcome {
  std::vector<double> losses, norms;
  std::string weights;
  double validation = 0.0;
  double accuracy = 0.0;
  int64_t targets = 0;
};

ImageOutcome train_images(const RunConfig& config, int ranks, int threads) {
  std::vector<ImageOutcome> outcomes(static_cast<size_t>(ranks));
  testing::run_ranks(ranks, [&](Communicator& communicator) {
    ThreadPool pool(threads);
    const std::unique_ptr<Objective> objective = image_objective(config);
    Engine engine(pool, communicator, config, *objective, {});
    engine.optimizer().initialize(config.seed());
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
    const EvaluationReport evaluation = engine.evaluate();
    outcome.validation = evaluation.loss;
    outcome.accuracy = static_cast<double>(evaluation.correct) / static_cast<double>(evaluation.targets);
  });
  for (const ImageOutcome& other : outcomes) {
    EXPECT_EQ(other.losses, outcomes[0].losses);
    EXPECT_TRUE(other.weights == outcomes[0].weights) << "ranks hold different weights";
  }
  return outcomes[0];
}

class ImageBits : public ::testing::TestWithParam<const char*> {};

TEST_P(ImageBits, DoNotDependOnRanksOrThreads) {
  const RunConfig config = image_config(GetParam());
  const ImageOutcome alone = train_images(config, 1, 1);
  for (const auto& [ranks, threads] : {std::pair{2, 1}, {3, 1}, {4, 1}, {1, 3}, {2, 2}}) {
    SCOPED_TRACE(std::to_string(ranks) + " ranks, " + std::to_string(threads) + " threads");
    const ImageOutcome other = train_images(config, ranks, threads);
    EXPECT_EQ(other.losses, alone.losses);
    EXPECT_EQ(other.norms, alone.norms);
    EXPECT_EQ(other.validation, alone.validation);
    EXPECT_TRUE(other.weights == alone.weights);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Objectives, ImageBits,
    ::testing::Values("image_classification { augmentation { smallest_crop: 0.5 } }", "rotation {}", kSimClr),
    [](const auto& parameter) {
      return std::string(parameter.index == 0 ? "classes" : parameter.index == 1 ? "rotation" : "simclr");
    });

TEST(SimClr, BitsHoldWithDropoutAndRecomputationAndInBf16) {
  for (const char* more : {"model.dropout=0.2", "numerics.recompute=true", "numerics.compute=BF16"}) {
    SCOPED_TRACE(more);
    const RunConfig config = image_config(kSimClr, {more});
    const ImageOutcome alone = train_images(config, 1, 1);
    const ImageOutcome four = train_images(config, 4, 1);  // a micro-batch each: nothing runs twice
    EXPECT_EQ(four.losses, alone.losses);
    EXPECT_TRUE(four.weights == alone.weights);
  }
}

// Negatives are those of the global batch: sixteen images in one micro-batch or in four have one loss and one gradient.
TEST(SimClr, TheGlobalBatchMayBeCutAnyhow) {
  const ImageOutcome four = train_images(image_config(kSimClr, {"steps=1"}), 1, 1);
  const ImageOutcome one =
      train_images(image_config(kSimClr, {"steps=1", "batch.micro_batch=16", "batch.micro_batches=1"}), 1, 1);
  EXPECT_EQ(four.targets, 32);
  EXPECT_EQ(one.targets, 32);
  EXPECT_NEAR(four.losses[0], one.losses[0], 1e-6);
  EXPECT_NEAR(four.norms[0], one.norms[0], 1e-5 * one.norms[0]);
  EXPECT_GT(four.losses[0], 0.5 * std::log(31.0)) << "31 others, not 7";
}

TEST(SimClr, ViewsAreFunctionsOfTheSample) {
  const RunConfig config = image_config(kSimClr);
  const std::unique_ptr<Objective> objective = image_objective(config);
  const Batch all = objective->training_batch(3, 4);
  const Batch second = objective->training_batch(4, 1);
  const int64_t row = all.patches.elements() / 8;
  const auto view = [&](const Batch& batch, int64_t index) {
    return std::vector<float>(batch.patches.data<float>() + index * row,
                              batch.patches.data<float>() + (index + 1) * row);
  };
  EXPECT_EQ(view(all, 1), view(second, 0));
  EXPECT_EQ(view(all, 5), view(second, 1));
  EXPECT_NE(view(all, 1), view(all, 5)) << "two views of one image";
  EXPECT_NE(view(objective->validation_batch(0, 2, 0), 0), view(objective->validation_batch(1, 2, 0), 0));
}

TEST(ImageClassification, LearnsWhatStripesLieHow) {
  RunConfig config = image_config("image_classification {}", {"steps=60"});
  const ImageOutcome outcome = train_images(config, 1, 1);
  EXPECT_GT(outcome.accuracy, 0.95);
}

TEST(Rotation, EveryTurnIsAskedInValidation) {
  const RunConfig config = image_config("rotation {}");
  const std::unique_ptr<Objective> objective = image_objective(config);
  EXPECT_EQ(objective->validation_batches(4, 0), 22);
  const Batch batch = objective->validation_batch(0, 4, 0);
  for (int32_t turn = 0; turn < 4; ++turn) EXPECT_EQ(batch.targets.data<int32_t>()[turn], turn);
  // Training turns are about equally frequent.
  std::vector<int> counts(4);
  const Batch many = objective->training_batch(0, 400);
  for (int64_t i = 0; i < 400; ++i) ++counts[static_cast<size_t>(many.targets.data<int32_t>()[i])];
  for (const int count : counts) EXPECT_NEAR(count, 100, 36) << "four deviations";
}

TEST(Images, EpochsVisitEveryImageOnce) {
  const RunConfig config = image_config("rotation {}");
  const ImageBatches batches({striped_images(50, 1), {}}, config.model(), Augmentation(), 5);
  std::vector<int> seen(50);
  for (uint64_t sample = 50; sample < 100; ++sample) ++seen[static_cast<size_t>(batches.training_image(sample))];
  EXPECT_EQ(seen, std::vector<int>(50, 1));
  bool other_order = false;
  for (uint64_t k = 0; k < 50; ++k) other_order |= batches.training_image(k) != batches.training_image(50 + k);
  EXPECT_TRUE(other_order);
}

std::string image_config_refusal(const std::string& objective, const std::vector<std::string>& overrides = {}) {
  try {
    image_config(objective, overrides);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "";
}

TEST(ImageConfig, WhatCannotBeIsRefusedBeforeTraining) {
  const auto expect = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  expect(image_config_refusal("simclr {}"), "augmentation changes nothing");
  expect(image_config_refusal(kSimClr, {"batch.micro_batch=1"}), "two negatives");
  expect(image_config_refusal("rotation {}", {"model.family=GPT2", "model.context=8"}), "set model.family: VIT");
  expect(image_config_refusal("causal_lm {}"), "model.family VIT reads images");
  expect(image_config_refusal("rotation {}", {"model.patch_size=3"}), "must be a multiple of");
  expect(image_config_refusal("rotation {}", {"model.image_channels=2"}), "image_channels");
  expect(image_config_refusal("rotation {}", {"model.context=9"}), "the number of patches and one, 5");
  expect(image_config_refusal("rotation {}", {"batch.sequence=3"}), "must be left out");
  EXPECT_EQ(image_config_refusal("rotation {}"), "");
}

TEST(ImageObjectives, WrongPicturesAreNamed) {
  const auto refuse = [](const std::function<void()>& make) -> std::string {
    try {
      make();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      return error.what();
    }
    return "";
  };
  const RunConfig config = image_config("rotation {}");
  ImageSet coloured = striped_images(4, 1);
  coloured.channels = 3;
  coloured.width = 8;
  coloured.pixels.resize(4 * 8 * 8 * 3);
  EXPECT_NE(refuse([&] { ImageBatches({coloured, {}}, config.model(), Augmentation(), 1); }).find("3 channels"),
            std::string::npos);
  ImageSet unlabelled = striped_images(4, 1);
  unlabelled.labels.clear();
  EXPECT_NE(refuse([&] {
              ImageClassifier(ImageBatches({unlabelled, {}}, config.model(), Augmentation(), 1),
                              ImageClassifier::Task::kLabels);
            }).find("no labels"),
            std::string::npos);
  ImageSet more = striped_images(4, 1);
  more.labels[2] = 5;
  EXPECT_NE(refuse([&] {
              ImageClassifier(ImageBatches({striped_images(4, 1), more}, config.model(), Augmentation(), 1),
                              ImageClassifier::Task::kLabels);
            }).find("label 5"),
            std::string::npos);
}

}  // namespace
}  // namespace tsugi
