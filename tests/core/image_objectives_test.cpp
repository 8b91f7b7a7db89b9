// Objectives of pictures: views as functions of the sample, the same bits on any number of ranks and threads, the same
// gradient however the global batch is cut.
#include <gtest/gtest.h>

#include <cmath>

#include "ops/base/error.h"
#include "tests/core/image_training.h"

namespace tsugi {
namespace {

using testing::image_config;
using testing::image_objective;
using testing::ImageOutcome;
using testing::kSimClr;
using testing::striped_images;
using testing::train_images;

class ImageBits : public ::testing::TestWithParam<const char*> {};

TEST_P(ImageBits, DoNotDependOnRanksOrThreads) {
  const std::string objective = GetParam();
  const bool nine_patches = objective.starts_with("relative_position");
  const RunConfig config = image_config(
      objective, nine_patches ? std::vector<std::string>{"model.patch_size=2"} : std::vector<std::string>{});
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
    ::testing::Values("image_classification { augmentation { smallest_crop: 0.5 } }", "rotation {}", kSimClr,
                      "jigsaw { augmentation { brightness: 0.3 } }", "relative_position {}",
                      "masked_autoencoder { decoder_layers: 1 decoder_width: 8 augmentation { flip: 0.5 } }"),
    [](const auto& parameter) {
      const std::string text = parameter.param;
      return text.substr(0, text.find(' '));
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
