// Gradients of whole objectives over a global batch on many ranks, and a table of them. What is compared is what the
// optimizer gets for every weight, and for every feature the slope of the losses themselves: a program that gathers
// features without their gradient has the right losses, and would fail both.
#include <array>
#include <cmath>
#include <iomanip>
#include <iostream>

#include "tests/core/image_training.h"

namespace tsugi {
namespace {

struct GradientCase {
  const char* name;
  std::string objective;
  /// How the loss is made of features; a queue is none.
  bool compared = true;
};

const std::string kTwoViews = "projection_width: 8 augmentation { smallest_crop: 0.4 flip: 0.5 brightness: 0.4 } }";
const std::vector<GradientCase> kGradientCases{
    {"simclr", "simclr { temperature: 0.2 " + kTwoViews},
    {"supervised_contrastive", "supervised_contrastive { " + kTwoViews},
    {"triplet, margin", "triplet { margin: 0.5 " + kTwoViews},
    {"triplet, logistic", "triplet { form: LOGISTIC " + kTwoViews},
    {"moco", "moco { queue: 32 momentum: 0.9 " + kTwoViews, false},
    {"clip", "clip { projection_width: 8 text_layers: 1 text_heads: 2 text_width: 16 text_context: 12 }"},
    {"cpc", "cpc { steps: 2 projection_width: 8 }"},
    {"dim, jsd", "dim { projection_width: 8 }"},
    {"dim, nce", "dim { bound: NCE projection_width: 8 }"},
    {"amdim", "amdim { projection_width: 8 augmentation { smallest_crop: 0.5 brightness: 0.4 } }"}};

/// Sixteen pictures, in four micro-batches or in one. The optimizer's first moment is the gradient, unclipped.
RunConfig gradient_config(const GradientCase& test, bool cut) {
  std::vector<std::string> overrides{"optimizer.beta1=0", "optimizer.clip_norm=0"};
  if (test.objective.starts_with("cpc")) overrides.emplace_back("model.bidirectional=false");
  if (!cut) overrides.insert(overrides.end(), {"batch.micro_batch=16", "batch.micro_batches=1"});
  return testing::image_config(test.objective, overrides);
}

/// The second step's, when a queue has keys of the first.
std::vector<float> weight_gradients(const RunConfig& config, int ranks) {
  std::map<int, std::vector<float>> tensors;
  std::mutex mutex;
  testing::run_ranks(ranks, [&](Communicator& communicator) {
    ThreadPool pool(1);
    const std::unique_ptr<Objective> objective = testing::image_objective(config);
    Engine engine(pool, communicator, config, *objective, {});
    engine.optimizer().initialize(config.seed());
    objective->start();
    for (int64_t step = 0; step < 2; ++step) {
      engine.step(step + 1, static_cast<uint64_t>(16 * step), step == 0 ? 1e-3f : 0.0f);
    }
    const std::lock_guard lock(mutex);
    for (const StateRange& range : engine.optimizer().ranges(true)) {
      std::vector<float>& tensor = tensors[range.tensor];
      tensor.resize(std::max(tensor.size(), static_cast<size_t>(range.offset + range.length)));
      std::copy_n(range.exp_avg, range.length, tensor.begin() + range.offset);
    }
  });
  std::vector<float> all;
  for (const auto& [index, values] : tensors) all.insert(all.end(), values.begin(), values.end());
  return all;
}

double norm_of(const std::vector<float>& values) {
  double squares = 0.0;
  for (const float value : values) squares += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(squares);
}

double relative_error(const std::vector<float>& actual, const std::vector<float>& expected) {
  std::vector<float> difference(expected.size());
  EXPECT_EQ(actual.size(), expected.size());
  if (actual.size() != expected.size()) return 1.0;
  for (size_t i = 0; i < expected.size(); ++i) difference[i] = actual[i] - expected[i];
  return norm_of(difference) / norm_of(expected);
}

/// Gradients of the features of a step.
struct FeatureGradients {
  std::vector<float> told;      ///< what the objective says
  std::vector<float> slopes;    ///< of the sum of all losses
  std::vector<float> detached;  ///< of the losses of the feature's own rank alone, of two
};

FeatureGradients feature_gradients(const RunConfig& config) {
  ThreadPool pool(1);
  const std::unique_ptr<Communicator> alone = make_local_communicator();
  const std::unique_ptr<Objective> objective = testing::image_objective(config);
  Engine engine(pool, *alone, config, *objective, {});
  engine.optimizer().initialize(config.seed());
  const int64_t leaves = config.batch().micro_batches();
  const int64_t rows = config.batch().micro_batch();
  const int64_t width = objective->feature_width();
  const Tensor all = engine.context().empty({leaves, rows * objective->feature_rows(), width}, DType::kF32);
  const int64_t leaf_elements = all.elements() / leaves;
  for (int64_t leaf = 0; leaf < leaves; ++leaf) {
    Tape tape(engine.context(), false);
    const Batch batch = objective->training_batch(static_cast<uint64_t>(leaf * rows), rows);
    const Variable features = objective->features(tape, engine.model(), batch, {});
    std::copy_n(features.value.data<float>(), leaf_elements, all.data<float>() + leaf * leaf_elements);
  }
  const auto compare = [&] { return objective->compare(engine.context(), *alone, all, 0); };
  FeatureGradients result;
  const FeatureLoss loss = compare();
  result.told.assign(loss.gradient.data<float>(), loss.gradient.data<float>() + all.elements());
  constexpr float kDistance = 1e-3f;
  for (int64_t i = 0; i < all.elements(); ++i) {
    float& value = all.data<float>()[i];
    const float before = value;
    std::array<double, 2> slope{};
    for (const float sign : {1.0f, -1.0f}) {
      value = before + sign * kDistance;
      const std::vector<LossSum> losses = compare().losses;
      for (int64_t leaf = 0; leaf < leaves; ++leaf) {
        const double part = static_cast<double>(sign) * losses[static_cast<size_t>(leaf)].sum / (2.0 * kDistance);
        slope[0] += part;
        if (2 * leaf / leaves == 2 * (i / leaf_elements) / leaves) slope[1] += part;
      }
    }
    value = before;
    result.slopes.push_back(static_cast<float>(slope[0]));
    result.detached.push_back(static_cast<float>(slope[1]));
  }
  return result;
}

// Of every weight: the same bits on 1, 2 and 4 ranks, and the same to rounding as of one micro-batch that has all
// pictures, where nothing is gathered. Of every feature: the slope of all losses, not of those of its rank.
TEST(ContrastiveGradients, AreThoseOfTheGlobalBatchOnAnyNumberOfRanks) {
  std::cout << "| gradients of           | norm    | 2 ranks | 4 ranks | one batch | features | detached |"
            << std::endl;
  for (const GradientCase& test : kGradientCases) {
    SCOPED_TRACE(test.name);
    const RunConfig config = gradient_config(test, true);
    const std::vector<float> one = weight_gradients(config, 1);
    ASSERT_GT(norm_of(one), 1e-3);
    std::cout << "| " << std::left << std::setw(22) << test.name << " | " << std::scientific << std::setprecision(1)
              << norm_of(one);
    for (const int ranks : {2, 4}) {
      const std::vector<float> many = weight_gradients(config, ranks);
      EXPECT_TRUE(many == one) << ranks << " ranks: the same bits";
      std::cout << " | " << std::setw(7) << (many == one ? "bitwise" : "other");
    }
    const double cut = relative_error(weight_gradients(gradient_config(test, false), 1), one);
    EXPECT_LE(cut, 1e-6);
    std::cout << std::scientific << std::setprecision(1) << " | " << cut << "  ";
    if (!test.compared) {
      // Keys are constants: test MoCo.NoGradientGoesThroughTheSecondEncoder.
      std::cout << " | constant keys       |" << std::endl;
      continue;
    }
    const FeatureGradients features = feature_gradients(config);
    const double slope_error = relative_error(features.told, features.slopes);
    const double detached_error = relative_error(features.detached, features.slopes);
    std::cout << " | " << slope_error << "  | " << std::fixed << std::setprecision(3) << detached_error << "    |"
              << std::endl;
    EXPECT_LE(slope_error, 2e-3);
    EXPECT_GT(detached_error, 0.05) << "a gather without gradient would be seen";
  }
}

}  // namespace
}  // namespace tsugi
