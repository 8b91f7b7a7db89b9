// Bounds of mutual information on 20 pairs of correlated normal numbers, of which it is known: critics of two networks,
// T(x, y) = f(x)·g(y) / 32, climb each bound on batches of 64 pairs. InfoNCE may never say more than ln 64, on any
// batch of the way, whatever the truth; where there is less to be known, every bound comes near it from below. Prints a
// table.
#include <array>
#include <iomanip>
#include <iostream>
#include <vector>

#include "ops/matmul/matmul.h"
#include "tests/core/mutual_information/ascent.h"

namespace tsugi {
namespace {

constexpr int64_t kPairs = 64;
constexpr int64_t kNumbers = 20;
constexpr int64_t kHidden = 128;
constexpr int64_t kFeatures = 32;
constexpr float kScale = 1.0f / 32;  // of f·g: exponentials of larger scores would hide all gradients at first
constexpr int64_t kSteps = 3000;
constexpr int64_t kFresh = 300;  // batches that the critic has not seen

struct PairBatch {
  Tensor x, y;  ///< [1, 64, 20]
};

class Critic {
 public:
  Critic() {
    for (const size_t side : {size_t{1}, size_t{0}}) {
      const std::string name = side == 0 ? "f" : "g";
      layers_[side][1] = ascent_.layer(name + ".out", kHidden, kFeatures);
      layers_[side][0] = ascent_.layer(name + ".in", kNumbers, kHidden);
    }
    ascent_.begin();
  }

  /// Climbs; returns the largest bound of any batch.
  double train(ScoreBound kind, double rho) {
    ScoreAverage average{.decay = 0.99};
    double largest = -1e30;
    for (int64_t step = 1; step <= kSteps; ++step) {
      ascent_.step(step, kSteps, 1e-3, [&] {
        Tape tape(ascent_.context());
        const PairBatch pairs = draw(step, 1, rho);
        const Variable f = features(tape, 0, pairs.x);
        const Variable g = features(tape, 1, pairs.y);
        const Tensor slope = ascent_.context().empty({kPairs, kPairs}, DType::kF32);
        const bool averaged = kind == ScoreBound::kDonskerVaradhan;
        largest = std::max(largest, testing::negated_slope(ascent_.context(), kind, scores(f.value, g.value), slope,
                                                           averaged ? &average : nullptr));
        add_product(f, slope, g.value, false);
        add_product(g, slope, f.value, true);
        tape.backward();
      });
    }
    return largest;
  }

  /// The mean over batches that it has not seen; `largest` becomes the largest of any.
  double estimate(ScoreBound kind, double rho, double& largest) {
    double sum = 0.0;
    for (int64_t batch = 0; batch < kFresh; ++batch) {
      Tape tape(ascent_.context(), false);
      const PairBatch pairs = draw(batch, 2, rho);
      const double bound = score_bound(ascent_.context(), kind,
                                       scores(features(tape, 0, pairs.x).value, features(tape, 1, pairs.y).value), {});
      largest = std::max(largest, bound);
      sum += bound;
    }
    return sum / static_cast<double>(kFresh);
  }

 private:
  PairBatch draw(int64_t batch, uint32_t site, double rho) const {
    const PairBatch pairs{ascent_.context().empty({1, kPairs, kNumbers}, DType::kF32),
                          ascent_.context().empty({1, kPairs, kNumbers}, DType::kF32)};
    for (int64_t i = 0; i < kPairs * kNumbers; ++i) {
      const RandomStream stream{11, static_cast<uint64_t>(batch * kPairs * kNumbers + i), site};
      const double a = testing::normal_quantile(static_cast<double>(uniform_open(stream.word(0))));
      const double b = testing::normal_quantile(static_cast<double>(uniform_open(stream.word(1))));
      pairs.x.data<float>()[i] = static_cast<float>(a);
      pairs.y.data<float>()[i] = static_cast<float>(rho * a + std::sqrt(1.0 - rho * rho) * b);
    }
    return pairs;
  }
  Variable features(Tape& tape, size_t side, const Tensor& numbers) const {
    const Variable hidden = layers_[side][0].forward(tape, tape.variable(numbers, false), Activation::kRelu);
    return layers_[side][1].forward(tape, hidden);
  }
  Tensor scores(const Tensor& f, const Tensor& g) const {
    const Tensor out = ascent_.context().empty({kPairs, kPairs}, DType::kF32);
    matmul(ascent_.context(), as_matrix(f), as_matrix(g), out, {.transpose_b = true});
    scale(out);
    return out;
  }
  /// Gives `of` the gradient slope·other, or slopeᵀ·other.
  void add_product(const Variable& of, const Tensor& slope, const Tensor& other, bool transpose) const {
    const Tensor gradient = ascent_.context().empty(of.value.shape(), DType::kF32);
    matmul(ascent_.context(), slope, as_matrix(other), as_matrix(gradient), {.transpose_a = transpose});
    scale(gradient);
    of.gradient->add(ascent_.context(), gradient);
  }

  static void scale(const Tensor& x) {
    for (int64_t i = 0; i < x.elements(); ++i) x.data<float>()[i] *= kScale;
  }

  testing::Ascent ascent_;
  std::array<std::array<Linear, 2>, 2> layers_;
};

struct Case {
  const char* name;
  ScoreBound kind;
  double truth;
  double least, most;  ///< of what is found
};

bool check(const Case& one) {
  // Each of the numbers carries the same share of it.
  const double rho = std::sqrt(1.0 - std::exp(-2.0 * one.truth / static_cast<double>(kNumbers)));
  Critic critic;
  double largest = critic.train(one.kind, rho);
  const double found = critic.estimate(one.kind, rho, largest);
  const bool within = one.kind != ScoreBound::kInfoNce || largest <= std::log(static_cast<double>(kPairs));
  const bool good = within && found >= one.least && found <= one.most;
  std::cout << "| " << std::left << std::setw(17) << one.name << std::fixed << std::setprecision(3) << one.truth << "  "
            << found << "  " << largest << "  " << (good ? "ok" : "FAILED") << std::endl;
  return good;
}

}  // namespace
}  // namespace tsugi

int main() {
  using tsugi::ScoreBound;
  std::cout << "| bound            truth  found  largest of a batch (ln 64 is " << std::log(64.0) << ")" << std::endl;
  bool good = true;
  for (const tsugi::Case& one : {tsugi::Case{"InfoNCE", ScoreBound::kInfoNce, 6.0, 3.5, std::log(64.0)},
                                 tsugi::Case{"InfoNCE", ScoreBound::kInfoNce, 2.0, 1.6, 2.02},
                                 tsugi::Case{"NWJ", ScoreBound::kNwj, 2.0, 1.6, 2.02},
                                 tsugi::Case{"Donsker-Varadhan", ScoreBound::kDonskerVaradhan, 2.0, 1.6, 2.02}}) {
    good = tsugi::check(one) && good;
  }
  return good ? 0 : 1;
}
