// parse_safetensors on any bytes: an Error(kData), or tensors that lie in the file side by side and fill it.
#include "core/checkpoint/safetensors.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(safetensors) {
  using namespace tsugi;
  const auto size = static_cast<int64_t>(input.size());
  fuzzing::refuse_or([&] {
    const SafetensorsHeader header = parse_safetensors(fuzzing::as_text(input), size, "input");
    std::vector<std::pair<int64_t, int64_t>> places;
    for (const auto& [name, tensor] : header.tensors) {
      CHECK_EQ((tensor.end - tensor.begin) * 8, tensor.elements * safetensors_bits(tensor.dtype)) << name;
      places.emplace_back(tensor.begin, tensor.end);
    }
    std::sort(places.begin(), places.end());
    for (size_t i = 1; i < places.size(); ++i) CHECK_EQ(places[i].first, places[i - 1].second);
    if (!places.empty()) {
      CHECK_GE(places.front().first, 8);
      CHECK_EQ(places.back().second, size);
    }
  });
}
