// Several sources of text in exact proportions: which source sample k comes from is a pure function of (seed, k).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tsugi {

/// A schedule in which, after every number n of samples, source s has been taken c(s, n) times with
/// |c(s, n) − n·w(s)/W| < 1, w the weights and W their sum. It repeats with a period of at most 10⁶ samples, whose
/// order is that of the earliest deadlines (a P-fair schedule: Baruah, Cohen, Plaxton and Varvel, "Proportionate
/// progress", Algorithmica 15 (1996); the bound by earliest deadlines: Steiner and Yeomans, "Level schedules for
/// mixed-model, just-in-time processes", Management Science 39 (1993)). The seed orders sources whose deadlines are
/// equal.
class Mixture {
 public:
  /// Weights are decimal numbers above 0, not fractions of 1. Throws Error(kUsage) when, as whole numbers without a
  /// common divisor, they add up to more than 10⁶ (six digits are enough: 0.333333 and 0.666667).
  Mixture(const std::vector<double>& weights, uint64_t seed);

  struct Pick {
    int64_t source = 0;
    uint64_t index = 0;  ///< how often the source was taken before
  };
  Pick pick(uint64_t sample) const;

  /// Weights as whole numbers; their sum is the period.
  const std::vector<int64_t>& parts() const { return parts_; }
  int64_t period() const { return static_cast<int64_t>(order_.size()); }
  /// c(s, n).
  uint64_t taken(int64_t source, uint64_t samples) const;

 private:
  std::vector<int64_t> parts_;
  std::vector<uint16_t> order_;  ///< source of every sample of a period
  std::vector<uint32_t> index_;  ///< how often it was taken before in the period
};

}  // namespace tsugi
