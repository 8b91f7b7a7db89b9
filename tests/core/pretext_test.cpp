// Pretext tasks of pictures: what they may and may not see, that their gradients are slopes, and that they are learnt
// where there is something to learn, and only there.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/config/config.h"
#include "core/data/images/permutations.h"
#include "core/objective/image_classification.h"
#include "core/objective/masked_autoencoder.h"
#include "core/objective/relative_position.h"
#include "core/train/engine.h"
#include "ops/base/error.h"
#include "tests/dist/thread_communicator.h"

namespace tsugi {
namespace {

constexpr int64_t kPretextSize = 12;

/// Noise alone, of which no part knows anything of the others; or brightness that grows to the right and downwards, so
/// that a patch says where it is.
ImageSet pretext_images(int64_t count, bool noise, uint64_t seed) {
  ImageSet set{"made", kPretextSize, kPretextSize, 1, {}, {}, {}};
  for (int64_t i = 0; i < count; ++i) {
    const RandomStream stream{seed, static_cast<uint64_t>(i), 0};
    for (int64_t y = 0; y < kPretextSize; ++y) {
      for (int64_t x = 0; x < kPretextSize; ++x) {
        const uint32_t word = stream.word(static_cast<uint64_t>(y * kPretextSize + x));
        set.pixels.push_back(static_cast<uint8_t>(noise ? word % 256 : 8 * x + 12 * y + word % 8));
      }
    }
  }
  return set;
}

RunConfig pretext_config(const std::string& objective, const std::vector<std::string>& overrides = {}) {
  RunConfig config;
  parse_config(R"(
      steps: 1
      model { family: VIT layers: 1 heads: 2 width: 16 image_size: 12 patch_size: 3 image_channels: 1
              pooling: MEAN_OF_PATCHES }
      data { train: "unused" }
      batch { micro_batch: 64 }
      optimizer { learning_rate: 3e-3 weight_decay: 0 }
      objective { )" +
                   objective + " }",
               "test", overrides, config);
  validate_run(config);
  return config;
}

/// Relative positions whose answers in training are anything.
class ShuffledPositions : public RelativePositionObjective {
 public:
  using RelativePositionObjective::RelativePositionObjective;
  Batch training_batch(uint64_t first_sample, int64_t count) const override {
    Batch batch = RelativePositionObjective::training_batch(first_sample, count);
    for (int64_t row = 0; row < count; ++row) {
      const RandomStream stream{99, first_sample + static_cast<uint64_t>(row), 0};
      batch.targets.data<int32_t>()[row] = static_cast<int32_t>(stream.word(0) % 8);
    }
    return batch;
  }
};

std::unique_ptr<Objective> pretext_objective(const RunConfig& config, bool noise, bool shuffled = false) {
  const ObjectiveConfig& objective = config.objective();
  const Augmentation& none = objective.has_relative_position()    ? objective.relative_position().augmentation()
                             : objective.has_masked_autoencoder() ? objective.masked_autoencoder().augmentation()
                                                                  : objective.jigsaw().augmentation();
  ImageBatches batches({pretext_images(noise ? 2000 : 300, noise, 1), pretext_images(noise ? 800 : 200, noise, 2)},
                       config.model(), none, config.seed());
  if (shuffled) {
    return std::make_unique<ShuffledPositions>(std::move(batches), objective.relative_position(), config.model());
  }
  if (objective.has_relative_position()) {
    return std::make_unique<RelativePositionObjective>(std::move(batches), objective.relative_position(),
                                                       config.model());
  }
  if (objective.has_masked_autoencoder()) {
    return std::make_unique<MaskedAutoencoderObjective>(std::move(batches), objective.masked_autoencoder(),
                                                        config.model());
  }
  return std::make_unique<ImageClassifier>(std::move(batches), ImageClassifier::Task::kJigsaw, objective.jigsaw());
}

/// A model with its objective's heads, in memory of its own.
struct PretextModel {
  explicit PretextModel(const RunConfig& run, bool noise = false)
      : config(run), objective(pretext_objective(run, noise)), pool(1), context(Device{}, pool, memory) {
    objective->declare_heads(store, config.model());
    model = std::make_unique<Transformer>(config.model(), store, false);
    store.allocate(context, DType::kF32);
    store.initial_values(3, 0, store.chunks(), store.working().data<float>());
    gradients = context.empty({store.trainable_chunks() * kChunkElements}, DType::kF32);
    std::fill_n(gradients.data<float>(), gradients.elements(), 0.0f);
    store.bind_gradients(gradients);
  }

  double loss(const Batch& batch, bool backward) const {
    Tape tape(context, backward);
    const LossSum sum = objective->loss(tape, *model, batch, {});
    tape.backward();
    return sum.sum;
  }

  RunConfig config;
  std::unique_ptr<Objective> objective;
  ThreadPool pool;
  HeapMemory memory;
  Context context;
  ParameterStore store;
  std::unique_ptr<Transformer> model;
  Tensor gradients;
};

EvaluationReport after_training(const RunConfig& config, bool noise, bool shuffled = false) {
  EvaluationReport report;
  testing::run_ranks(1, [&](Communicator& communicator) {
    ThreadPool pool(1);
    const std::unique_ptr<Objective> objective = pretext_objective(config, noise, shuffled);
    Engine engine(pool, communicator, config, *objective, {});
    engine.optimizer().initialize(config.seed());
    for (int64_t step = 0; step < config.steps(); ++step) {
      engine.step(step + 1, static_cast<uint64_t>(step * engine.samples_per_step()),
                  config.optimizer().learning_rate());
    }
    report = engine.evaluate();
  });
  return report;
}

double share_right(const EvaluationReport& report) {
  return static_cast<double>(report.correct) / static_cast<double>(report.targets);
}

class PretextGradient : public ::testing::TestWithParam<const char*> {};

// Along the gradient of each tensor the loss rises as its length says.
TEST_P(PretextGradient, IsTheSlopeOfTheLoss) {
  const PretextModel made(pretext_config(GetParam(), {"model.init_deviation=0.2"}));
  const Batch batch = made.objective->training_batch(5, 6);
  made.loss(batch, true);
  for (size_t t = 0; t < made.store.tensors().size(); ++t) {
    const ParameterInfo& info = made.store.tensors()[t];
    SCOPED_TRACE(info.name);
    const Tensor value = made.store.value(static_cast<int>(t));
    const Tensor gradient = made.store.gradient(static_cast<int>(t));
    double squares = 0.0;
    for (int64_t i = 0; i < value.elements(); ++i) squares += std::pow(gradient.data<float>()[i], 2.0);
    const bool of_places = info.name.ends_with("position_embeddings");
    if (of_places && made.config.objective().has_relative_position()) {
      EXPECT_EQ(squares, 0.0) << "positions would tell";
      continue;
    }
    const double length = std::sqrt(squares);
    constexpr double kStep = 2e-3;
    const std::vector<float> before(value.data<float>(), value.data<float>() + value.elements());
    double ends[2];
    for (const int side : {0, 1}) {
      for (int64_t i = 0; i < value.elements(); ++i) {
        const double along = length == 0.0 ? 0.0 : static_cast<double>(gradient.data<float>()[i]) / length;
        value.data<float>()[i] =
            static_cast<float>(before[static_cast<size_t>(i)] + (side == 0 ? -kStep : kStep) * along);
      }
      ends[side] = made.loss(batch, false);
    }
    std::copy(before.begin(), before.end(), value.data<float>());
    // The bias of keys moves all scores of a query alike: its gradient is rounding.
    EXPECT_NEAR((ends[1] - ends[0]) / (2.0 * kStep), length, 1e-2 * length + 2e-3);
    if (!info.name.ends_with(".bias")) {
      EXPECT_GT(length, 1e-4) << "the loss does not depend on it";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Objectives, PretextGradient,
                         ::testing::Values("jigsaw {}", "relative_position { gap: 0.4 }",
                                           "masked_autoencoder { decoder_width: 8 decoder_layers: 1 }"),
                         [](const auto& parameter) {
                           const std::string text = parameter.param;
                           return text.substr(0, text.find(' '));
                         });

// Positions in the table, whatever they are, change nothing: they would say which neighbour it is.
TEST(RelativePosition, DoesNotReadPositions) {
  const PretextModel made(pretext_config("relative_position {}"));
  const Batch batch = made.objective->training_batch(0, 8);
  const double loss = made.loss(batch, false);
  const Tensor table = made.model->position_embedding().value();
  for (int64_t i = 0; i < table.elements(); ++i) table.data<float>()[i] = static_cast<float>(i % 7) - 3.0f;
  EXPECT_EQ(made.loss(batch, false), loss);
  EXPECT_EQ(made.objective->sequence(), 3);
}

TEST(RelativePosition, PatchesAreThoseOfTheirPlaces) {
  const RunConfig config = pretext_config("relative_position { gap: 0.4 }");  // 1 pixel of 3; 11 of 12 are needed
  const std::unique_ptr<Objective> objective = pretext_objective(config, false);
  const Batch batch = objective->training_batch(40, 60);
  std::set<int32_t> places;
  for (int64_t row = 0; row < 60; ++row) {
    const int32_t place = batch.targets.data<int32_t>()[row];
    places.insert(place);
    // Brightness is 8x + 12y and up to 7 more: the mean over a patch says where it is.
    const auto mean = [&](int64_t patch) {
      double sum = 0.0;
      for (int64_t i = 0; i < 9; ++i)
        sum += static_cast<double>(batch.patches.data<float>()[(2 * row + patch) * 9 + i]);
      return (sum / 9.0 + 1.0) / 2.0 * 255.0;
    };
    const int64_t cell = place < 4 ? place : place + 1;
    const double expected =
        4.0 * (8.0 * static_cast<double>(cell % 3 - 1) + 12.0 * (std::floor(static_cast<double>(cell) / 3.0) - 1.0));
    EXPECT_NEAR(mean(1) - mean(0), expected, 7.0) << "place " << place;
    const Batch one = objective->training_batch(40 + static_cast<uint64_t>(row), 1);
    EXPECT_EQ(one.targets.data<int32_t>()[0], place);
    EXPECT_TRUE(
        std::equal(one.patches.data<float>(), one.patches.data<float>() + 18, batch.patches.data<float>() + row * 18));
  }
  EXPECT_EQ(places.size(), 8u);
  const std::unique_ptr<Objective> other = pretext_objective(pretext_config("relative_position {}", {"seed=9"}), false);
  const std::unique_ptr<Objective> same = pretext_objective(pretext_config("relative_position {}", {"seed=8"}), false);
  const Batch asked = other->validation_batch(1, 10, 0);
  EXPECT_TRUE(std::equal(asked.targets.data<int32_t>(), asked.targets.data<int32_t>() + 10,
                         same->validation_batch(1, 10, 0).targets.data<int32_t>()));
}

// Of noise nothing can be known, so that whoever is right of it more often than chance has been told.
TEST(Pretext, IsLearntWhereThereIsSomethingToLearn) {
  const RunConfig place = pretext_config("relative_position { gap: 0.4 }", {"steps=150"});
  EXPECT_GT(share_right(after_training(place, false)), 0.6);
  EXPECT_LT(share_right(after_training(place, false, true)), 0.125 + 4.0 * std::sqrt(0.125 * 0.875 / 200.0));
  const EvaluationReport of_noise = after_training(place, true);
  EXPECT_EQ(of_noise.targets, 800);
  EXPECT_LT(share_right(of_noise), 0.125 + 4.0 * std::sqrt(0.125 * 0.875 / 800.0));

  const RunConfig puzzle =
      pretext_config("jigsaw { permutations: 6 }", {"steps=250", "model.patch_size=6", "optimizer.learning_rate=1e-2"});
  EXPECT_GT(share_right(after_training(puzzle, false)), 0.8);
  EXPECT_LT(share_right(after_training(puzzle, true)), 1.0 / 6.0 + 4.0 * std::sqrt(5.0 / 36.0 / 800.0));
}

// An autoencoder that restores nothing has an error of (C - 1)/C, the variance of normalised pixels.
TEST(MaskedAutoencoder, RestoresWhatCanBeRestored) {
  const std::string objective = "masked_autoencoder { decoder_layers: 1 mask_ratio: 0.5 }";
  const RunConfig config = pretext_config(objective, {"steps=150"});
  EXPECT_LT(after_training(config, false).loss, 0.4);
  const EvaluationReport of_noise = after_training(pretext_config(objective, {"steps=60"}), true);
  EXPECT_NEAR(of_noise.loss, 8.0 / 9.0, 0.1);
  EXPECT_EQ(of_noise.targets, 800 * 8) << "hidden patches";
}

TEST(MaskedAutoencoder, TheModelDoesNotSeeHiddenPatches) {
  const PretextModel made(pretext_config("masked_autoencoder {}"));
  EXPECT_EQ(made.objective->sequence(), 1 + 4);
  const Batch batch = made.objective->training_batch(0, 2);
  const auto outputs = [&] {
    Tape tape(made.context, false);
    ForwardOptions options;
    options.seen = batch.positions;
    const Tensor hidden = made.model->hidden_of_images(tape, batch.patches, options).value;
    EXPECT_EQ(hidden.shape(), Shape({2, 5, 16}));
    return std::vector<float>(hidden.data<float>(), hidden.data<float>() + hidden.elements());
  };
  const std::vector<float> before = outputs();
  const double loss = made.loss(batch, false);
  std::set<int32_t> seen(batch.positions.data<int32_t>(), batch.positions.data<int32_t>() + 10);
  EXPECT_EQ(seen.size(), 10u);
  int hidden = 0;
  for (int32_t token = 0; token < 34; ++token) {
    if (token % 17 == 0) {
      EXPECT_TRUE(seen.contains(token)) << "the class token";
      continue;
    }
    if (seen.contains(token)) continue;
    ++hidden;
    batch.patches.data<float>()[(token - token / 17 - 1) * 9 + 4] += 0.5f;
  }
  EXPECT_EQ(hidden, 24);
  EXPECT_EQ(outputs(), before);
  EXPECT_NE(made.loss(batch, false), loss);
}

TEST(MaskedAutoencoder, HiddenPatchesAreFunctionsOfTheSample) {
  const PretextModel made(pretext_config("masked_autoencoder {}"));
  const Batch all = made.objective->training_batch(30, 40);
  std::vector<int> counts(17);
  for (int32_t row = 0; row < 40; ++row) {
    const Batch one = made.objective->training_batch(30 + static_cast<uint64_t>(row), 1);
    for (int32_t i = 0; i < 5; ++i) {
      EXPECT_EQ(all.positions.data<int32_t>()[5 * row + i], 17 * row + one.positions.data<int32_t>()[i]);
      ++counts[static_cast<size_t>(one.positions.data<int32_t>()[i])];
    }
  }
  for (size_t patch = 1; patch < 17; ++patch) EXPECT_NEAR(counts[patch], 10, 4.0 * std::sqrt(40.0 * 0.25 * 0.75));
  // Rows behind the last picture are not counted.
  const Batch last = made.objective->validation_batch(3, 64, 0);
  EXPECT_EQ(last.targets.data<int32_t>()[7], 0);
  EXPECT_EQ(last.targets.data<int32_t>()[8], kIgnoreIndex);
  Tape tape(made.context, false);
  EXPECT_EQ(made.objective->loss(tape, *made.model, last, {}).count, 8 * 12);
}

TEST(Permutations, AreAsFarFromEachOtherAsTheyCanBe) {
  const std::vector<std::vector<uint8_t>> chosen = distant_permutations(9, 100);
  ASSERT_EQ(chosen.size(), 100u);
  EXPECT_EQ(chosen[0], (std::vector<uint8_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(std::set<std::vector<uint8_t>>(chosen.begin(), chosen.end()).size(), 100u);
  int64_t sum = 0;
  int64_t least = 9;
  for (size_t a = 0; a < chosen.size(); ++a) {
    EXPECT_EQ(std::set<uint8_t>(chosen[a].begin(), chosen[a].end()).size(), 9u);
    for (size_t b = 0; b < a; ++b) {
      int64_t distance = 0;
      for (size_t place = 0; place < 9; ++place) distance += chosen[a][place] != chosen[b][place];
      sum += distance;
      least = std::min(least, distance);
    }
  }
  // A published set of 100 (Taskonomy's) has 8.08 and 2. In each place one of nine occurs twelve times and the others
  // eleven times at best: 9·(1 - 506/4950).
  EXPECT_NEAR(static_cast<double>(sum) / 4950.0, 8.08, 1e-12);
  EXPECT_GE(least, 2);
  const std::vector<std::vector<uint8_t>> all = distant_permutations(4, 24);
  EXPECT_EQ(std::set<std::vector<uint8_t>>(all.begin(), all.end()).size(), 24u);
}

TEST(Jigsaw, TilesAreWhereTheirOrderSays) {
  const RunConfig config = pretext_config("jigsaw {}");  // four patches of 3 pixels, two to a tile
  const std::unique_ptr<Objective> objective = pretext_objective(config, false);
  const auto orders = distant_permutations(4, 24);
  const Batch batch = objective->training_batch(0, 100);
  std::set<int32_t> classes;
  for (int64_t row = 0; row < 100; ++row) {
    const int32_t order = batch.targets.data<int32_t>()[row];
    classes.insert(order);
    for (int64_t tile = 0; tile < 4; ++tile) {
      const int64_t patch = tile / 2 * 8 + tile % 2 * 2;  // its first
      const double brightness =
          (static_cast<double>(batch.patches.data<float>()[(row * 16 + patch) * 9]) + 1.0) / 2.0 * 255.0;
      const int64_t from = orders[static_cast<size_t>(order)][static_cast<size_t>(tile)];
      EXPECT_NEAR(
          brightness,
          6.0 * (8.0 * static_cast<double>(from % 2) + 12.0 * std::floor(static_cast<double>(from) / 2.0)) + 3.5, 3.6);
    }
  }
  EXPECT_GT(classes.size(), 20u);
}

TEST(PretextConfig, WhatDoesNotFitIsRefused) {
  const auto pretext_refusal = [](const std::string& objective,
                                  const std::vector<std::string>& overrides) -> std::string {
    try {
      pretext_config(objective, overrides);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      return error.what();
    }
    return "";
  };
  const auto expect = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  expect(pretext_refusal("jigsaw { tiles: 3 }", {}), "a tile is made of whole patches");
  expect(pretext_refusal("jigsaw { permutations: 25 }", {}), "the 24 orders");
  expect(pretext_refusal("jigsaw { permutations: 1 }", {}), "nothing to tell apart");
  expect(pretext_refusal("jigsaw {}", {"model.patch_size=0"}), "model.image_size and model.patch_size are needed");
  expect(pretext_refusal("jigsaw {}", {"model.family=BERT", "model.context=8"}), "set model.family: VIT");
  expect(pretext_refusal("relative_position {}", {"model.patch_size=4"}), "more than model.image_size (12)");
  expect(pretext_refusal("relative_position { gap: 1 }", {}), "15 pixels of patches");
  expect(pretext_refusal("masked_autoencoder { mask_ratio: 0.99 }", {}), "hides 16 of 16");
  expect(pretext_refusal("masked_autoencoder { mask_ratio: 0.01 }", {}), "hides 0 of 16");
  expect(pretext_refusal("masked_autoencoder { decoder_width: 7 }", {}), "is not a multiple of model.heads");
  EXPECT_EQ(pretext_refusal("jigsaw { tiles: 3 permutations: 30 }", {"model.patch_size=2"}), "");
}

}  // namespace
}  // namespace tsugi
