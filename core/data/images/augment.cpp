#include "core/data/images/augment.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>

namespace tsugi {
namespace {

constexpr uint32_t kViewSites = 0x56000000;  // sites of views begin here

/// Words of a view's stream.
enum ViewWord : uint64_t { kArea, kRatio, kLeft, kTop, kFlip, kBrightness, kContrast, kBlur, kSigma };

double uniform_word(const RandomStream& stream, ViewWord word) {
  return static_cast<double>(uniform_open(stream.word(word)));
}

/// What one pixel of the result takes from a row of the source.
struct Tap {
  int64_t first = 0;
  std::vector<float> weights;
};

std::vector<Tap> triangle_taps(double begin, double extent, int64_t source, int64_t size) {
  const double scale = extent / static_cast<double>(size);
  const double support = std::max(scale, 1.0);
  std::vector<Tap> taps;
  for (int64_t i = 0; i < size; ++i) {
    const double centre = begin + (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<int64_t>(0, static_cast<int64_t>(std::floor(centre - support + 0.5)));
    const auto end = std::min<int64_t>(source, static_cast<int64_t>(std::floor(centre + support + 0.5)));
    Tap tap{std::min(first, source - 1), {}};
    std::vector<double> weights;
    double sum = 0.0;
    for (int64_t j = tap.first; j < end; ++j) {
      weights.push_back(std::max(0.0, 1.0 - std::abs(static_cast<double>(j) + 0.5 - centre) / support));
      sum += weights.back();
    }
    if (sum <= 0.0) {
      weights.assign(1, 1.0);
      sum = 1.0;
    }
    for (const double weight : weights) tap.weights.push_back(static_cast<float>(weight / sum));
    taps.push_back(std::move(tap));
  }
  return taps;
}

CropBox random_crop(int64_t height, int64_t width, float smallest, const RandomStream& stream) {
  const auto h = static_cast<double>(height);
  const auto w = static_cast<double>(width);
  if (smallest >= 1.0f) return {0.0, 0.0, w, h};
  const auto least = static_cast<double>(smallest);
  const double area = least + (1.0 - least) * uniform_word(stream, kArea);
  const double log_ratio = std::log(4.0 / 3.0) * (2.0 * uniform_word(stream, kRatio) - 1.0);
  CropBox box;
  box.width = std::min(w, w * std::sqrt(area * std::exp(log_ratio)));
  box.height = std::min(h, h * std::sqrt(area * std::exp(-log_ratio)));
  box.x = (w - box.width) * uniform_word(stream, kLeft);
  box.y = (h - box.height) * uniform_word(stream, kTop);
  return box;
}

void flip_planes(std::vector<float>& planes, int64_t size) {
  for (auto row = planes.begin(); row != planes.end(); row += size) std::reverse(row, row + size);
}

/// Distances from the mean and all values are scaled, then cut off to [0, 1].
void adjust_planes(std::vector<float>& planes, double brightness, double contrast) {
  double mean = 0.0;
  for (const float value : planes) mean += static_cast<double>(value);
  mean /= static_cast<double>(planes.size());
  for (float& value : planes) {
    const double adjusted = brightness * (mean + contrast * (static_cast<double>(value) - mean));
    value = static_cast<float>(std::clamp(adjusted, 0.0, 1.0));
  }
}

/// Gaussian, along rows, then along columns; the border repeats.
void blur_planes(std::vector<float>& planes, int64_t size, double sigma) {
  const int64_t radius = std::max<int64_t>(1, size / 20);
  std::vector<float> weights;
  double sum = 0.0;
  for (int64_t d = -radius; d <= radius; ++d) sum += std::exp(-0.5 * static_cast<double>(d * d) / (sigma * sigma));
  for (int64_t d = -radius; d <= radius; ++d) {
    weights.push_back(static_cast<float>(std::exp(-0.5 * static_cast<double>(d * d) / (sigma * sigma)) / sum));
  }
  std::vector<float> from(planes.size());
  for (const int64_t step : {int64_t{1}, size}) {
    from.swap(planes);
    for (int64_t i = 0; i < static_cast<int64_t>(from.size()); ++i) {
      const int64_t place = i / step % size;
      float value = 0.0f;
      for (int64_t d = -radius; d <= radius; ++d) {
        const int64_t other = std::clamp<int64_t>(place + d, 0, size - 1);
        value += weights[static_cast<size_t>(d + radius)] * from[static_cast<size_t>(i + (other - place) * step)];
      }
      planes[static_cast<size_t>(i)] = value;
    }
  }
}

}  // namespace

RandomStream view_stream(uint64_t seed, uint64_t sample, uint32_t view) { return {seed, sample, kViewSites + view}; }

std::vector<float> resize_image(std::span<const uint8_t> image, int64_t height, int64_t width, int64_t channels,
                                const CropBox& box, int64_t size) {
  CHECK_EQ(static_cast<int64_t>(image.size()), height * width * channels);
  const std::vector<Tap> across = triangle_taps(box.x, box.width, width, size);
  const std::vector<Tap> down = triangle_taps(box.y, box.height, height, size);
  const int64_t first_row = down.front().first;
  const int64_t end_row = down.back().first + static_cast<int64_t>(down.back().weights.size());
  std::vector<float> rows(static_cast<size_t>((end_row - first_row) * size));
  std::vector<float> planes(static_cast<size_t>(channels * size * size));
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t y = first_row; y < end_row; ++y) {
      for (int64_t x = 0; x < size; ++x) {
        const Tap& tap = across[static_cast<size_t>(x)];
        float value = 0.0f;
        for (size_t k = 0; k < tap.weights.size(); ++k) {
          const int64_t column = tap.first + static_cast<int64_t>(k);
          value += tap.weights[k] * static_cast<float>(image[static_cast<size_t>((y * width + column) * channels + c)]);
        }
        rows[static_cast<size_t>((y - first_row) * size + x)] = value;
      }
    }
    for (int64_t y = 0; y < size; ++y) {
      const Tap& tap = down[static_cast<size_t>(y)];
      float* const to = planes.data() + (c * size + y) * size;
      for (size_t k = 0; k < tap.weights.size(); ++k) {
        const float* const from = rows.data() + (tap.first + static_cast<int64_t>(k) - first_row) * size;
        for (int64_t x = 0; x < size; ++x) to[x] += tap.weights[k] * from[x];
      }
      for (int64_t x = 0; x < size; ++x) to[x] = std::min(to[x] / 255.0f, 1.0f);
    }
  }
  return planes;
}

std::vector<float> augment_image(std::span<const uint8_t> image, int64_t height, int64_t width, int64_t channels,
                                 int64_t size, const Augmentations& augmentations, const RandomStream& stream) {
  const CropBox box = random_crop(height, width, augmentations.smallest_crop, stream);
  std::vector<float> planes = resize_image(image, height, width, channels, box, size);
  if (uniform_word(stream, kFlip) < static_cast<double>(augmentations.flip)) flip_planes(planes, size);
  if (augmentations.brightness > 0.0f || augmentations.contrast > 0.0f) {
    const auto factor = [&](float strength, ViewWord word) {
      return 1.0 + static_cast<double>(strength) * (2.0 * uniform_word(stream, word) - 1.0);
    };
    adjust_planes(planes, factor(augmentations.brightness, kBrightness), factor(augmentations.contrast, kContrast));
  }
  if (uniform_word(stream, kBlur) < static_cast<double>(augmentations.blur)) {
    blur_planes(planes, size, 0.1 + 1.9 * uniform_word(stream, kSigma));
  }
  return planes;
}

std::vector<float> rotate_image(std::span<const float> planes, int64_t channels, int64_t size, int quarters) {
  std::vector<float> result(planes.begin(), planes.end());
  for (int turn = 0; turn < quarters; ++turn) {
    const std::vector<float> from = result;
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t y = 0; y < size; ++y) {
        for (int64_t x = 0; x < size; ++x) {
          result[static_cast<size_t>((c * size + y) * size + x)] =
              from[static_cast<size_t>((c * size + x) * size + size - 1 - y)];
        }
      }
    }
  }
  return result;
}

std::vector<float> cut_square(std::span<const float> planes, int64_t channels, int64_t size, int64_t x, int64_t y,
                              int64_t side) {
  CHECK(x >= 0 && y >= 0 && x + side <= size && y + side <= size) << side << " pixels at " << x << ", " << y;
  std::vector<float> square;
  square.reserve(static_cast<size_t>(channels * side * side));
  for (int64_t row = 0; row < channels * side; ++row) {
    const auto from = planes.begin() + ((row / side * size) + y + row % side) * size + x;
    square.insert(square.end(), from, from + side);
  }
  return square;
}

std::vector<float> arrange_tiles(std::span<const float> planes, int64_t channels, int64_t size, int64_t across,
                                 std::span<const uint8_t> order) {
  CHECK_EQ(size % across, 0);
  CHECK_EQ(static_cast<int64_t>(order.size()), across * across);
  const int64_t side = size / across;
  std::vector<float> result(planes.size());
  for (int64_t tile = 0; tile < across * across; ++tile) {
    const int64_t from = order[static_cast<size_t>(tile)];
    for (int64_t row = 0; row < channels * side; ++row) {
      const int64_t line = row / side * size + row % side;  // of the tile in the first row of tiles
      const int64_t source = (line + from / across * side) * size + from % across * side;
      const int64_t target = (line + tile / across * side) * size + tile % across * side;
      std::copy_n(planes.begin() + source, side, result.begin() + target);
    }
  }
  return result;
}

void write_patches(std::span<const float> planes, int64_t channels, int64_t size, int64_t patch, float* patches) {
  CHECK_EQ(size % patch, 0);
  for (int64_t row = 0; row < size; row += patch) {
    for (int64_t column = 0; column < size; column += patch) {
      for (int64_t c = 0; c < channels; ++c) {
        for (int64_t y = row; y < row + patch; ++y) {
          for (int64_t x = column; x < column + patch; ++x) {
            *patches++ = (planes[static_cast<size_t>((c * size + y) * size + x)] - 0.5f) / 0.5f;
          }
        }
      }
    }
  }
}

}  // namespace tsugi
