// MINE (Belghazi et al. 2018) through the operator for bounds: a critic of two hidden layers learns the mutual
// information of two correlated normal numbers, -ln(1 - ρ²) / 2. Fails when it is off by more than 3 %, or above the
// truth by more than .02 nats, on pairs that it has not seen. Prints a table.
#include <array>
#include <cmath>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <vector>

#include "tests/core/mutual_information/ascent.h"

namespace tsugi {
namespace {

using testing::normal_quantile;

constexpr int64_t kPairs = 96;  ///< of a step; all other combinations are what does not belong together
constexpr int64_t kFreshPairs = 384;
constexpr int64_t kFreshBatches = 80;
constexpr int64_t kHidden = 64;
constexpr int64_t kSteps = 2500;

struct Pairs {
  std::vector<float> x, y;
  void add(double u, double v, double rho) {
    const double a = normal_quantile(u);
    x.push_back(static_cast<float>(a));
    y.push_back(static_cast<float>(rho * a + std::sqrt(1.0 - rho * rho) * normal_quantile(v)));
  }
};

/// `count` pairs at random; `site`: of which random numbers.
Pairs random_pairs(uint64_t first, int64_t count, uint32_t site, double rho) {
  Pairs pairs;
  for (int64_t i = 0; i < count; ++i) {
    const RandomStream stream{7, first + static_cast<uint64_t>(i), site};
    pairs.add(static_cast<double>(uniform_open(stream.word(0))), static_cast<double>(uniform_open(stream.word(1))),
              rho);
  }
  return pairs;
}

/// Pairs that are spread evenly over the square of probabilities (Roberts' additive recurrence), so that a mean over
/// them is nearly that of the distribution.
Pairs even_pairs(int64_t first, double rho) {
  constexpr double kPlastic = 1.32471795724474602596;
  Pairs pairs;
  for (int64_t i = 0; i < kFreshPairs; ++i) {
    const auto n = static_cast<double>(first + i + 1);
    const double u = 0.5 + n / kPlastic;
    const double v = 0.5 + n / (kPlastic * kPlastic);
    pairs.add(u - std::floor(u), v - std::floor(v), rho);
  }
  return pairs;
}

class Mine {
 public:
  Mine() {
    layers_[2] = ascent_.layer("critic.out", kHidden, 1);
    layers_[1] = ascent_.layer("critic.hidden", kHidden, kHidden);
    layers_[0] = ascent_.layer("critic.in", 2, kHidden);
    ascent_.begin();
  }

  void train(double rho) {
    ScoreAverage average{.decay = 0.99};
    for (int64_t step = 1; step <= kSteps; ++step) {
      ascent_.step(step, kSteps, 2e-3, [&] {
        Tape tape(ascent_.context());
        const Variable scores = score(tape, random_pairs(static_cast<uint64_t>(step * kPairs), kPairs, 1, rho));
        const Tensor slope = ascent_.context().empty({kPairs, kPairs}, DType::kF32);
        testing::negated_slope(ascent_.context(), ScoreBound::kDonskerVaradhan, scores.value.reshape({kPairs, kPairs}),
                               slope, &average);
        scores.gradient->add(ascent_.context(), slope.reshape(scores.value.shape()));
        tape.backward();
      });
    }
  }

  /// On fresh pairs. What belongs together is spread evenly, what does not is random: combinations of evenly spread
  /// pairs would keep away from each other. Batches count as one: the mean of logarithms is not the logarithm of the
  /// mean.
  double estimate(double rho) {
    double together = 0.0;
    double apart = 0.0;
    for (int64_t batch = 0; batch < kFreshBatches; ++batch) {
      ScoreAverage even;
      together += bound(even_pairs(batch * kFreshPairs, rho), even) + even.log_mean;
      ScoreAverage random;
      bound(random_pairs(static_cast<uint64_t>(batch * kFreshPairs), kFreshPairs, 2, rho), random);
      apart += std::exp(random.log_mean);
    }
    const auto batches = static_cast<double>(kFreshBatches);
    return together / batches - std::log(apart / batches);
  }

 private:
  /// Donsker and Varadhan's, on one batch; `average` receives its second term.
  double bound(const Pairs& pairs, ScoreAverage& average) {
    Tape tape(ascent_.context(), false);
    const Tensor scores = score(tape, pairs).value;
    return score_bound(ascent_.context(), ScoreBound::kDonskerVaradhan, scores.reshape({kFreshPairs, kFreshPairs}), {},
                       &average);
  }
  /// T(x_i, y_j) as [1, N², 1].
  Variable score(Tape& tape, const Pairs& pairs) {
    const auto count = static_cast<int64_t>(pairs.x.size());
    const Tensor inputs = ascent_.context().empty({1, count * count, 2}, DType::kF32);
    for (int64_t i = 0; i < count * count; ++i) {
      inputs.data<float>()[2 * i] = pairs.x[static_cast<size_t>(i / count)];
      inputs.data<float>()[2 * i + 1] = pairs.y[static_cast<size_t>(i % count)];
    }
    const Variable first = layers_[0].forward(tape, tape.variable(inputs, false), Activation::kRelu);
    return layers_[2].forward(tape, layers_[1].forward(tape, first, Activation::kRelu));
  }

  testing::Ascent ascent_;
  std::array<Linear, 3> layers_;
};

bool check(double rho) {
  Mine mine;
  mine.train(rho);
  const double truth = -0.5 * std::log(1.0 - rho * rho);
  const double found = mine.estimate(rho);
  const bool good = std::abs(found - truth) <= std::max(0.03 * truth, 0.003) && found <= truth + 0.02;
  std::cout << "| " << std::fixed << std::setprecision(4) << rho << "  " << truth << "  " << found << "  "
            << (good ? "ok" : "FAILED") << std::endl;
  return good;
}

}  // namespace
}  // namespace tsugi

/// Usage: mine_program [RHO…]
int main(int count, char** arguments) {
  std::vector<double> correlations{0.0, 0.5, 0.9, 0.99};
  if (count > 1) correlations.clear();
  for (int i = 1; i < count; ++i) correlations.push_back(std::strtod(arguments[i], nullptr));
  std::cout << "| rho     truth   found" << std::endl;
  bool good = true;
  for (const double rho : correlations) good = tsugi::check(rho) && good;
  return good ? 0 : 1;
}
