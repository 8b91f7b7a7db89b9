// Pictures become what a model reads: a square of some size, perhaps another view of the same thing, cut into patches.
// A view is a pure function of (seed, global sample index, view): the same for any number of ranks, and after a resume.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/data/images/image_set.h"
#include "ops/tensor/philox.h"

namespace tsugi {

/// The transformations of SimCLR (Chen et al. 2020, appendix A) that make sense without colours too. Everything off:
/// the picture as it is.
struct Augmentations {
  float smallest_crop = 1.0f;  ///< share of the area: U(smallest_crop, 1), sides at most 4:3; 1: the whole picture
  float flip = 0.0f;           ///< probability of left becoming right; 0 for digits and letters
  float brightness = 0.0f;     ///< all values times U(1 - b, 1 + b)
  float contrast = 0.0f;       ///< distances from the mean times U(1 - c, 1 + c)
  float blur = 0.0f;           ///< probability of a Gaussian blur, σ = U(0.1, 2), ± size / 20 pixels (at least 1)
};

/// A part of a picture, in pixels: what becomes the whole.
struct CropBox {
  double x = 0.0;
  double y = 0.0;
  double width = 0.0;
  double height = 0.0;
};

/// The random stream of a view of a sample; `view` counts from 0.
RandomStream view_stream(uint64_t seed, uint64_t sample, uint32_t view);

/// planes [channels, size, size] of values in [0, 1]: the box, resized with a triangle filter as wide as one pixel of
/// the result, or of the picture if that is larger (Pillow's BILINEAR: no aliasing).
std::vector<float> resize_image(std::span<const uint8_t> image, int64_t height, int64_t width, int64_t channels,
                                const CropBox& box, int64_t size);

/// One view as planes [channels, size, size] in [0, 1]. Each transformation takes words of its own from the stream, so
/// that switching one off leaves the others as they are.
std::vector<float> augment_image(std::span<const uint8_t> image, int64_t height, int64_t width, int64_t channels,
                                 int64_t size, const Augmentations& augmentations, const RandomStream& stream);

/// Turns the planes by quarter·90° counterclockwise.
std::vector<float> rotate_image(std::span<const float> planes, int64_t channels, int64_t size, int quarters);

/// The square of `side` pixels at (x, y): planes [channels, side, side].
std::vector<float> cut_square(std::span<const float> planes, int64_t channels, int64_t size, int64_t x, int64_t y,
                              int64_t side);

/// Tiles in another order: the picture is cut into across·across of them (`size` is a multiple of `across`), counted
/// row by row, and tile i of the result is tile order[i].
std::vector<float> arrange_tiles(std::span<const float> planes, int64_t channels, int64_t size, int64_t across,
                                 std::span<const uint8_t> order);

/// patches [(size / patch)², channels·patch·patch], row by row, each in the order channel, row, column (as a
/// convolution's weight in PyTorch); values become (v - 0.5) / 0.5, as Hugging Face's ViT wants them.
void write_patches(std::span<const float> planes, int64_t channels, int64_t size, int64_t patch, float* patches);

}  // namespace tsugi
