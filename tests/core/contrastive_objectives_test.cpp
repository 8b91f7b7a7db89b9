// Objectives that compare pictures: with classes, triplets, a queue, captions.
#include <cmath>
#include <filesystem>
#include <fstream>

#include "ops/base/error.h"
#include "tests/core/image_training.h"
#include "tests/ops/testing.h"

namespace tsugi {
namespace {

using testing::image_config;
using testing::image_objective;
using testing::ImageOutcome;
using testing::striped_images;
using testing::train_images;

const std::string kViews = "projection_width: 8 augmentation { smallest_crop: 0.4 flip: 0.5 brightness: 0.4 } }";
const std::string kMoCo = "moco { queue: 32 momentum: 0.9 " + kViews;
const std::string kClipSmall =
    "clip { projection_width: 8 text_layers: 1 text_heads: 2 text_width: 16 text_context: 12 "
    "augmentation { smallest_crop: 0.6 } }";

const std::string kCpcSmall = "cpc { steps: 2 projection_width: 8 augmentation { smallest_crop: 0.6 } }";

const std::string kDimSmall = "dim { projection_width: 8 augmentation { smallest_crop: 0.6 } }";
const std::string kDimNce = "dim { bound: NCE projection_width: 8 augmentation { smallest_crop: 0.6 } }";
const std::string kAmdimSmall = "amdim { projection_width: 8 augmentation { smallest_crop: 0.5 brightness: 0.4 } }";

RunConfig contrastive_config(const std::string& objective, std::vector<std::string> overrides = {}) {
  if (objective.starts_with("cpc")) overrides.emplace_back("model.bidirectional=false");
  return image_config(objective, overrides);
}

class ContrastiveBits : public ::testing::TestWithParam<std::string> {};

// A global batch of four micro-batches, on one rank that has all of them and on ranks that have one each.
TEST_P(ContrastiveBits, DoNotDependOnRanksOrThreads) {
  const RunConfig config = contrastive_config(GetParam(), {"model.dropout=0.1"});
  const ImageOutcome alone = train_images(config, 1, 1);
  for (const auto& [ranks, threads] : {std::pair{2, 1}, {4, 1}, {1, 3}}) {
    SCOPED_TRACE(std::to_string(ranks) + " ranks, " + std::to_string(threads) + " threads");
    const ImageOutcome other = train_images(config, ranks, threads);
    EXPECT_EQ(other.losses, alone.losses);
    EXPECT_EQ(other.norms, alone.norms);
    EXPECT_EQ(other.validation, alone.validation);
    EXPECT_TRUE(other.weights == alone.weights);
    EXPECT_TRUE(other.state == alone.state);
  }
}

std::string contrast_name(const ::testing::TestParamInfo<std::string>& parameter) {
  constexpr std::array kNames{"supervised", "triplet_margin", "triplet_logistic", "moco", "clip", "cpc",
                              "dim",        "amdim"};
  return kNames[parameter.index];
}

INSTANTIATE_TEST_SUITE_P(Objectives, ContrastiveBits,
                         ::testing::Values("supervised_contrastive { " + kViews, "triplet { " + kViews,
                                           "triplet { form: LOGISTIC " + kViews, kMoCo, kClipSmall, kCpcSmall, kDimNce,
                                           kAmdimSmall),
                         contrast_name);

TEST(SupervisedContrastive, FindsTheClass) {
  const ImageOutcome outcome = train_images(image_config("supervised_contrastive { " + kViews, {"steps=60"}), 1, 1);
  EXPECT_GT(outcome.accuracy, 0.9);
}

TEST(Clip, FindsTheCaption) {
  const ImageOutcome outcome = train_images(image_config(kClipSmall, {"steps=150"}), 1, 1);
  EXPECT_GT(outcome.accuracy, 0.9);
}

TEST(Cpc, ForeseesPatches) {
  // 3 predictions of the next patch and 2 of the one after it, each among 4 pictures.
  const RunConfig config = contrastive_config(kCpcSmall, {"steps=80"});
  const ImageOutcome outcome = train_images(config, 1, 1);
  EXPECT_EQ(outcome.targets, 16 * 5);
  EXPECT_LT(outcome.validation, std::log(4.0) - 0.2);
  EXPECT_GT(outcome.accuracy, 0.4);
  EXPECT_NEAR(outcome.losses[0], std::log(16.0), 0.3);
}

/// What comes later is of another picture: patch p is that of the picture p rows on.
class MixedPatches : public CpcObjective {
 public:
  using CpcObjective::CpcObjective;
  Batch training_batch(uint64_t first_sample, int64_t count) const override {
    return mixed(CpcObjective::training_batch(first_sample, count));
  }
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override {
    return mixed(CpcObjective::validation_batch(index, count, limit));
  }

 private:
  static Batch mixed(const Batch& batch) {
    Batch result = batch;
    const Shape& shape = batch.patches.shape();
    HeapMemory memory;
    result.patches = Tensor(memory.allocate(batch.patches.bytes()), shape, DType::kF32);
    for (int64_t row = 0; row < shape[0]; ++row) {
      for (int64_t patch = 0; patch < shape[1]; ++patch) {
        const float* const from =
            batch.patches.data<float>() + ((row + patch) % shape[0] * shape[1] + patch) * shape[2];
        std::copy_n(from, shape[2], result.patches.data<float>() + (row * shape[1] + patch) * shape[2]);
      }
    }
    return result;
  }
};

// Then nothing can be foreseen, and whoever does better than to guess has been told.
TEST(Cpc, ForeseesNothingOfOtherPictures) {
  const RunConfig config = contrastive_config(kCpcSmall, {"steps=80"});
  ThreadPool pool(1);
  const std::unique_ptr<Communicator> alone = make_local_communicator();
  MixedPatches objective(ImageBatches({striped_images(50, 1), striped_images(200, 2)}, config.model(),
                                      config.objective().cpc().augmentation(), config.seed()),
                         config.objective().cpc());
  Engine engine(pool, *alone, config, objective, {});
  engine.optimizer().initialize(config.seed());
  for (int64_t step = 0; step < config.steps(); ++step) {
    engine.step(step + 1, static_cast<uint64_t>(step * engine.samples_per_step()), config.optimizer().learning_rate());
  }
  EXPECT_GT(engine.evaluate().loss, std::log(4.0) - 0.02);
}

// Of 4 patches and the picture, among those of 4 pictures; the loss is less than that of knowing nothing, 0.
TEST(Dim, TellsPicturesApart) {
  const ImageOutcome outcome = train_images(image_config(kDimSmall, {"steps=150"}), 1, 1);
  EXPECT_EQ(outcome.targets, 16 * 2);
  EXPECT_NEAR(outcome.losses[0], 0.0, 0.05);
  EXPECT_LT(outcome.validation, -0.15);
  EXPECT_GT(outcome.accuracy, 0.35) << "of pictures of which many are alike";
  const ImageOutcome found = train_images(image_config(kDimNce, {"steps=60"}), 1, 1);
  EXPECT_LT(found.validation, found.losses[0] - 1.0);
}

TEST(Amdim, FindsTheOtherView) {
  // Two wholes of each of two views, among the 4 patches of 16 pictures; of 4 in validation.
  const ImageOutcome outcome = train_images(image_config(kAmdimSmall, {"steps=60"}), 1, 1);
  EXPECT_EQ(outcome.targets, 16 * 4);
  EXPECT_NEAR(outcome.losses[0], std::log(1.0 + 15.0 * 4.0), 0.1);
  EXPECT_GT(outcome.accuracy, 0.4) << "of pictures of which many are alike";
}

/// A rank that trains.
struct MoCoRun {
  explicit MoCoRun(const std::vector<std::string>& overrides = {})
      : config(image_config(kMoCo, overrides)),
        pool(1),
        communicator(make_local_communicator()),
        objective(image_objective(config)),
        engine(pool, *communicator, config, *objective, {}) {
    engine.optimizer().initialize(config.seed());
    objective->start();
  }
  MoCoObjective& moco() { return dynamic_cast<MoCoObjective&>(*objective); }
  StepReport step(int64_t index) {
    return engine.step(index + 1, static_cast<uint64_t>(index * engine.samples_per_step()), 1e-2f);
  }

  RunConfig config;
  ThreadPool pool;
  std::unique_ptr<Communicator> communicator;
  std::unique_ptr<Objective> objective;
  Engine engine;
};

TEST(MoCo, KeysReplaceTheOldestOnesAfterTheLoss) {
  MoCoRun run;
  const auto rows = [&](int64_t first) { return testing::to_doubles(run.moco().queue().slice(first * 8, {16, 8})); };
  const std::vector<double> first = rows(0);
  const std::vector<double> second = rows(16);
  for (int64_t row = 0; row < 32; ++row) {
    double squares = 0.0;
    for (int64_t c = 0; c < 8; ++c) squares += std::pow(run.moco().queue().data<float>()[8 * row + c], 2);
    EXPECT_NEAR(squares, 1.0, 1e-5) << "row " << row;
  }
  run.step(0);
  EXPECT_NE(rows(0), first) << "the first batch of keys is where the oldest ones were";
  EXPECT_EQ(rows(16), second);
  const std::vector<double> keys = rows(0);
  run.step(1);
  EXPECT_EQ(rows(0), keys);
  EXPECT_NE(rows(16), second);
  run.step(2);
  EXPECT_NE(rows(0), keys) << "round it goes";
}

// The mean of a step is that of its micro-batches against the queue as it was before.
TEST(MoCo, AStepUsesTheOldQueue) {
  MoCoRun run;
  run.step(0);
  double sum = 0.0;
  for (uint64_t leaf = 0; leaf < 4; ++leaf) {
    Tape tape(run.engine.context(), false);
    sum += run.objective->loss(tape, run.engine.model(), run.objective->training_batch(16 + 4 * leaf, 4), {}).sum;
  }
  EXPECT_NEAR(run.step(1).loss, sum / 16.0, 1e-6);
}

TEST(MoCo, TheSecondEncoderFollowsTheFirst) {
  MoCoRun run;
  const std::vector<double> start = testing::to_doubles(run.engine.store().working());
  EXPECT_EQ(testing::to_doubles(run.moco().key_weights()), start);
  run.step(0);
  const std::vector<double> after = testing::to_doubles(run.engine.store().working());
  const std::vector<double> keys = testing::to_doubles(run.moco().key_weights());
  EXPECT_NE(after, start);
  for (size_t i = 0; i < keys.size(); ++i) {
    EXPECT_NEAR(keys[i], 0.9 * start[i] + 0.1 * after[i], 1e-7 * (1.0 + std::abs(start[i])));
  }
}

// What the second encoder makes is a constant: the gradient is the slope of the loss with that encoder fixed.
TEST(MoCo, NoGradientGoesThroughTheSecondEncoder) {
  MoCoRun run;
  ParameterStore& store = run.engine.store();
  const Tensor gradients = run.engine.context().empty(store.working().shape(), DType::kF32);
  std::fill_n(gradients.data<float>(), gradients.elements(), 0.0f);
  store.bind_gradients(gradients);
  const Batch batch = run.objective->training_batch(0, 4);
  {
    Tape tape(run.engine.context());
    run.objective->loss(tape, run.engine.model(), batch, {});
    tape.backward();
  }
  const Tensor weights = store.working();
  const std::vector<double> at = testing::to_doubles(weights);
  const std::vector<double> slope = testing::to_doubles(gradients);
  double square = 0.0;
  for (const double value : slope) square += value * value;
  ASSERT_GT(square, 0.0);
  // Along the gradient itself.
  const double length = std::sqrt(square);
  const auto loss_at = [&](double distance) {
    for (size_t i = 0; i < at.size(); ++i) {
      weights.data<float>()[i] = static_cast<float>(at[i] + distance * slope[i] / length);
    }
    Tape tape(run.engine.context(), false);
    return run.objective->loss(tape, run.engine.model(), batch, {}).sum;
  };
  constexpr double kDistance = 2e-3;
  EXPECT_NEAR((loss_at(kDistance) - loss_at(-kDistance)) / (2.0 * kDistance), length, 0.01 * length);
}

std::string contrastive_refusal(const std::string& objective, const std::vector<std::string>& overrides = {}) {
  try {
    const RunConfig config = image_config(objective, overrides);
    image_objective(config);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ContrastiveConfig, WhatCannotBeIsRefusedBeforeTraining) {
  const auto expect = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  expect(contrastive_refusal("triplet {}"), "objective.triplet.augmentation changes nothing");
  expect(contrastive_refusal("amdim {}"), "objective.amdim.augmentation changes nothing");
  expect(contrastive_refusal("dim { global_weight: 0 local_weight: 0 }"), "nothing is left to learn");
  expect(contrastive_refusal("moco {}"), "objective.moco.augmentation changes nothing");
  expect(contrastive_refusal("moco { queue: 30 " + kViews),
         "is not a multiple of the global batch, 16 (batch.micro_batch · batch.micro_batches), whose keys replace the "
         "oldest ones: set it to 32");
  expect(contrastive_refusal(kMoCo, {"numerics.compute=BF16"}), "objective.moco needs numerics.compute FP32");
  expect(contrastive_refusal(kMoCo, {"adapter.rank=2"}), "leave out adapter");
  for (const std::string& objective :
       {"triplet { " + kViews, "supervised_contrastive { " + kViews, kClipSmall, kDimSmall, kAmdimSmall}) {
    expect(contrastive_refusal(objective, {"batch.micro_batch=1"}), "two negatives");
    expect(contrastive_refusal(objective, {"model.family=GPT2", "model.context=8"}), "set model.family: VIT");
  }
  expect(contrastive_refusal(kCpcSmall), "seen: set model.bidirectional: false and model.pooling: MEAN_OF_PATCHES");
  const std::string causal = "model.bidirectional=false";
  expect(contrastive_refusal(kCpcSmall, {causal, "model.pooling=CLASS_TOKEN"}), "model.bidirectional must be true");
  expect(contrastive_refusal(kCpcSmall, {causal, "objective.cpc.steps=4"}), "less than the number of patches, 4");
  expect(contrastive_refusal(kClipSmall, {"objective.clip.text_heads=3"}), "is not a multiple of");
  expect(contrastive_refusal(kClipSmall, {"objective.clip.text_context=6"}), "text_context 6 has room for 5");
  EXPECT_EQ(contrastive_refusal(kMoCo, {"batch.micro_batch=1"}), "") << "negatives come from the queue";
}

TEST(ContrastiveConfig, PicturesThatDoNotFitAreNamed) {
  const RunConfig config = image_config(kClipSmall);
  const auto refusal = [&](const ImageSet& set, bool captions) -> std::string {
    try {
      ImageBatches batches({set, {}}, config.model(), Augmentation(), 1);
      if (captions) {
        ClipObjective(std::move(batches), config.objective().clip(), config.model());
      } else {
        SupervisedContrastiveObjective(std::move(batches), SupervisedContrastive());
      }
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      return error.what();
    }
    return "";
  };
  ImageSet set = striped_images(8, 1);
  set.captions.assign(8, "stripes");
  EXPECT_NE(refusal(set, true).find("all captions are the same"), std::string::npos);
  set.captions.clear();
  EXPECT_NE(refusal(set, true).find("has no captions"), std::string::npos);
  set.labels.clear();
  EXPECT_NE(refusal(set, false).find("has no labels, which objective.supervised_contrastive learns"),
            std::string::npos);
  set = striped_images(8, 1);
  set.labels.assign(8, 0);
  set.classes = {"one"};
  EXPECT_NE(refusal(set, false).find("needs 2"), std::string::npos);
}

TEST(Captions, LinesOfAFile) {
  const std::string path = ::testing::TempDir() + "/captions.txt";
  const auto refusal = [&](const std::string& text, int64_t images) -> std::string {
    std::ofstream(path, std::ios::binary) << text;
    try {
      read_captions(path, images);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal("one\ntwo\n", 2), "");
  EXPECT_EQ(read_captions(path, 2), (std::vector<std::string>{"one", "two"}));
  std::ofstream(path, std::ios::binary) << "eins\r\nzw\xC3\xB6lf";
  EXPECT_EQ(read_captions(path, 2), (std::vector<std::string>{"eins", "zw\xC3\xB6lf"}));
  EXPECT_NE(refusal("one\ntwo\n", 3).find("has 2 lines, but must have 3"), std::string::npos);
  EXPECT_NE(refusal("one\n\ntwo\n", 3).find(":2: an empty caption"), std::string::npos);
  EXPECT_NE(refusal("\xFF\n", 1).find("is not UTF-8"), std::string::npos);
  EXPECT_NE(refusal(std::string(70000, 'x') + "\n", 1).find("the limit is 65536"), std::string::npos);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace tsugi
