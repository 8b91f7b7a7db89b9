// Models and objectives of pictures on CUDA, beside the CPU.
#include <gmock/gmock.h>
#include <unistd.h>

#include <array>
#include <filesystem>

#include "ops/base/error.h"
#include "tests/core/cuda/train_somewhere.h"
#include "tests/core/image_training.h"
#include "tests/ops/cuda/context.h"
#include "tests/ops/cuda/low_precision.h"

namespace tsugi {
namespace {

using testing::Outcome;
using testing::Where;

RunConfig pictures_config(const std::string& objective, std::vector<std::string> overrides) {
  for (const char* more : {"numerics.compute=BF16", "compute.products=FIRST", "schedule.kind=CONSTANT", "steps=4",
                           "optimizer.learning_rate=1e-2", "evaluation.every_steps=2", "evaluation.sequences=8",
                           "batch.micro_batches=2"}) {
    overrides.insert(overrides.begin(), more);
  }
  return testing::image_config(objective, overrides);
}

Outcome train_pictures(const RunConfig& config, const Where& where) {
  const std::unique_ptr<Objective> objective = testing::image_objective(config);
  TrainerOptions options;
  options.config = config;
  return testing::train_somewhere(*objective, std::move(options), where);
}

class CudaPictures : public testing::OnCuda {
 protected:
  /// Trains on CUDA and, in both precisions, on the CPU.
  void expect_equal_to_the_cpu(const std::string& objective, const std::vector<std::string>& overrides = {}) const {
    SCOPED_TRACE(objective);
    RunConfig config = pictures_config(objective, overrides);
    const Outcome actual = train_pictures(config, {device()});
    const Outcome plain = train_pictures(config, {});
    config.mutable_numerics()->set_compute(NumericsConfig::FP32);
    const Outcome exact = train_pictures(config, {});
    EXPECT_NE(exact.losses.back(), exact.losses.front());
    testing::expect_within_twice(actual.losses, plain.losses, exact.losses, DType::kBF16);
    testing::expect_within_twice(actual.evaluations, plain.evaluations, exact.evaluations, DType::kBF16);
    EXPECT_EQ(actual.evaluations.size(), 2u);
  }
};

TEST_F(CudaPictures, WhatAPictureIsEqualsTheCpuWithinTheBoundOfBf16) {
  expect_equal_to_the_cpu("image_classification { augmentation { smallest_crop: 0.5 } }");
  expect_equal_to_the_cpu("image_classification {}", {"model.pooling=CLASS_TOKEN", "model.dropout=0.1"});
}

TEST_F(CudaPictures, WhatWasDoneWithAPictureEqualsTheCpu) {
  expect_equal_to_the_cpu("rotation {}", {"numerics.recompute=true"});
  expect_equal_to_the_cpu("jigsaw { augmentation { brightness: 0.3 } }");
  expect_equal_to_the_cpu("relative_position {}", {"model.patch_size=2"});
}

TEST_F(CudaPictures, MaskedAutoencodersRestoreHiddenPatches) {
  expect_equal_to_the_cpu("masked_autoencoder { decoder_layers: 1 augmentation { flip: 0.5 } }",
                          {"model.patch_size=2"});
  expect_equal_to_the_cpu("masked_autoencoder { decoder_layers: 1 normalize: false }", {"model.dropout=0.1"});
}

const std::string kViews = "projection_width: 8 augmentation { smallest_crop: 0.4 flip: 0.5 brightness: 0.4 } }";

/// Objectives that compare what all micro-batches have.
class CudaComparedPictures : public CudaPictures, public ::testing::WithParamInterface<std::string> {};

TEST_P(CudaComparedPictures, EqualTheCpuWithinTheBoundOfBf16) {
  std::vector<std::string> overrides{"batch.micro_batch=2", "evaluation.sequences=4", "model.layers=1"};
  if (GetParam().starts_with("cpc")) overrides.emplace_back("model.bidirectional=false");
  if (GetParam().starts_with("supervised")) overrides.emplace_back("model.dropout=0.1");
  expect_equal_to_the_cpu(GetParam(), overrides);
}

std::string compared_name(const ::testing::TestParamInfo<std::string>& parameter) {
  constexpr std::array kNames{"simclr",  "supervised", "triplet_margin", "triplet_logistic", "clip", "cpc",
                              "dim_jsd", "dim_nce",    "amdim"};
  return kNames[parameter.index];
}

INSTANTIATE_TEST_SUITE_P(
    Objectives, CudaComparedPictures,
    ::testing::Values(testing::kSimClr, "supervised_contrastive { " + kViews, "triplet { " + kViews,
                      "triplet { form: LOGISTIC " + kViews,
                      "clip { projection_width: 8 text_layers: 1 text_heads: 2 text_width: 16 text_context: 12 "
                      "augmentation { smallest_crop: 0.6 } }",
                      "cpc { steps: 2 projection_width: 8 augmentation { smallest_crop: 0.6 } }",
                      "dim { projection_width: 8 augmentation { smallest_crop: 0.6 } }",
                      "dim { bound: NCE projection_width: 8 augmentation { smallest_crop: 0.6 } }",
                      "amdim { projection_width: 8 augmentation { smallest_crop: 0.5 brightness: 0.4 } }"),
    compared_name);

// In f32, as its second encoder needs it: the queue, the moving average and checkpoints that hold them.
TEST_F(CudaPictures, MomentumContrastEqualsTheCpu) {
  const RunConfig config = pictures_config("moco { queue: 32 momentum: 0.9 " + kViews,
                                           {"numerics.compute=FP32", "model.dropout=0.1", "checkpoint.every_steps=2"});
  const Outcome actual = train_pictures(config, {device()});
  const Outcome expected = train_pictures(config, {});
  EXPECT_NE(expected.losses.back(), expected.losses.front());
  testing::expect_close(actual.losses, expected.losses);
  testing::expect_close(actual.evaluations, expected.evaluations);

  const std::string directory = ::testing::TempDir() + "cuda_moco." + std::to_string(getpid());
  RunConfig half = config;
  half.set_steps(2);
  const Outcome first = train_pictures(half, {device(), directory});
  const Outcome second = train_pictures(config, {device(), directory});
  std::filesystem::remove_all(directory);
  EXPECT_EQ(second.result.start_step, 2);
  std::vector<double> losses = first.losses;
  losses.insert(losses.end(), second.losses.begin(), second.losses.end());
  EXPECT_EQ(losses, actual.losses);
}

TEST_F(CudaPictures, FeaturesOfAnyWidthAreCompared) {
  expect_equal_to_the_cpu("simclr { projection_width: 6 augmentation { smallest_crop: 0.4 flip: 0.5 } }",
                          {"batch.micro_batch=2", "evaluation.sequences=4", "model.layers=1"});
}

TEST_F(CudaPictures, RefusesWhatIsNotBuilt) {
  const auto message = [&](const RunConfig& config, WorkRecorder* recorder) -> std::string {
    try {
      train_pictures(config, {device(), "", recorder});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      return error.what();
    }
    return "no error";
  };
  const std::unique_ptr<WorkRecorder> recorder = cuda::make_recorder(*device());
  for (const char* objective : {"rotation {}", "masked_autoencoder {}", testing::kSimClr}) {
    EXPECT_THAT(message(pictures_config(objective, {}), recorder.get()),
                ::testing::HasSubstr("CUDA graphs are not built for objective "));
  }
}

}  // namespace
}  // namespace tsugi
