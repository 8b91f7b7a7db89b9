#include <cmath>
#include <cstdlib>

#include "ops/relative_bias/relative_bias.h"

namespace tsugi::reference {

int64_t relative_bucket(const RelativeBuckets& buckets, int64_t distance) {
  const int64_t side = buckets.bidirectional ? buckets.buckets / 2 : buckets.buckets;
  const bool behind = distance > 0;
  if (behind && !buckets.bidirectional) return 0;
  const int64_t first = behind ? side : 0;
  const int64_t away = std::abs(distance);
  const int64_t exact = side / 2;
  if (away < exact) return first + away;
  // Step k begins where (away / exact)^(side - exact) reaches (max_distance / exact)^k; equality counts, so the left
  // side is raised by less than what neighbours differ in.
  int64_t bucket = exact;
  const long double ratio = static_cast<long double>(away) / static_cast<long double>(exact);
  const long double most = static_cast<long double>(buckets.max_distance) / static_cast<long double>(exact);
  const auto steps = static_cast<int>(side - exact);
  for (int k = 1; k < steps; ++k) {
    if (std::pow(ratio, static_cast<long double>(steps)) * (1.0L + 1e-15L) >=
        std::pow(most, static_cast<long double>(k))) {
      bucket = exact + k;
    }
  }
  return first + bucket;
}

}  // namespace tsugi::reference
