#include "core/objective/image_batches.h"

#include <algorithm>

#include "core/data/hash.h"
#include "ops/base/error.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace tsugi {
namespace {

constexpr uint64_t kImageOrderStream = 0x1A6E5;
constexpr uint32_t kPretextView = 1;                         // the stream behind that of the view itself
constexpr uint64_t kValidationPictures = uint64_t{1} << 62;  // keyed apart from training samples

void check_channels(const ImageSet& set, const ModelConfig& model) {
  if (set.channels == model.image_channels()) return;
  throw Error(ExitCode::kData,
              set.name + " has images of " + std::to_string(set.channels) + " channels, the model reads " +
                  std::to_string(model.image_channels()),
              "set model.image_channels: " + std::to_string(set.channels));
}

void check_labelled(const ImageSet& set, const std::string& objective) {
  if (!set.labels.empty()) return;
  throw Error(ExitCode::kData, set.name + " has no labels, which objective." + objective + " learns",
              "put images into one folder per class, or labels beside the IDX file; objective.rotation and "
              "objective.simclr need none");
}

std::string hash_of_images(const ImageSet& set) {
  Hash64 hash;
  const int64_t shape[] = {set.height, set.width, set.channels};
  hash.update(std::as_bytes(std::span(shape)));
  hash.update(std::as_bytes(std::span(set.pixels)));
  hash.update(std::as_bytes(std::span(set.labels)));
  return std::to_string(hash.value());
}

}  // namespace

ImageBatches::ImageBatches(ImageData data, const ModelConfig& model, const Augmentation& augmentation, uint64_t seed)
    : data_(std::move(data)),
      augmentations_{augmentation.smallest_crop(), augmentation.flip(), augmentation.brightness(),
                     augmentation.contrast(), augmentation.blur()},
      seed_(seed),
      size_(model.image_size()),
      patch_(model.patch_size()),
      patches_(int64_t{model.context()} - 1) {
  check_channels(data_.train, model);
  if (data_.validation) check_channels(*data_.validation, model);
}

void ImageBatches::require_labels(const std::string& objective, size_t classes) const {
  check_labelled(data_.train, objective);
  const size_t found = data_.train.classes.size();
  if (found < classes) {
    throw Error(ExitCode::kData, data_.train.name + " has " + std::to_string(found) + " class(es), objective." +
                                     objective + " needs " + std::to_string(classes) +
                                     ": there would be nothing to tell them from");
  }
  if (!data_.validation) return;
  check_labelled(*data_.validation, objective);
  const int32_t largest = *std::max_element(data_.validation->labels.begin(), data_.validation->labels.end());
  if (largest >= static_cast<int32_t>(found)) {
    throw Error(ExitCode::kData, data_.validation->name + " has the label " + std::to_string(largest) + ", " +
                                     data_.train.name + " only " + std::to_string(found) + " classes");
  }
}

int64_t ImageBatches::training_image(uint64_t sample) const {
  const auto count = static_cast<uint64_t>(data_.train.count());
  return static_cast<int64_t>(permute_index(sample % count, count, seed_, kImageOrderStream + (sample / count << 20)));
}

RandomStream ImageBatches::training_stream(uint64_t sample) const { return view_stream(seed_, sample, kPretextView); }

RandomStream ImageBatches::validation_stream(int64_t image) const {
  return view_stream(0, kValidationPictures + static_cast<uint64_t>(image), kPretextView);
}

int64_t ImageBatches::validation_images(int64_t limit) const {
  if (!data_.validation) return 0;
  return limit > 0 ? std::min(limit, data_.validation->count()) : data_.validation->count();
}

Batch ImageBatches::empty(int64_t rows, int64_t patches) const {
  Batch batch;
  const int64_t count = patches > 0 ? patches : patches_;
  const int64_t elements = data_.train.channels * patch_ * patch_;
  batch.targets = host_integers({rows});
  std::fill_n(batch.targets.data<int32_t>(), rows, kIgnoreIndex);
  HeapMemory heap;
  batch.patches = Tensor(heap.allocate(static_cast<size_t>(rows * count * elements) * sizeof(float)),
                         {rows, count, elements}, DType::kF32);
  std::fill_n(batch.patches.data<float>(), batch.patches.elements(), 0.0f);
  return batch;
}

Batch ImageBatches::shape(int64_t rows, int64_t patches) const {
  Batch batch;
  const int64_t count = patches > 0 ? patches : patches_;
  batch.targets = Tensor::view(nullptr, {rows}, DType::kI32);
  batch.patches = Tensor::view(nullptr, {rows, count, data_.train.channels * patch_ * patch_}, DType::kF32);
  return batch;
}

std::vector<float> ImageBatches::planes(const ImageView& view) const {
  const ImageSet& set = *view.set;
  const Augmentations none;
  std::vector<float> pixels =
      augment_image(set.image(view.image), set.height, set.width, set.channels, size_,
                    view.augmented ? augmentations_ : none, view_stream(seed_, view.sample, view.view));
  if (view.quarters > 0) pixels = rotate_image(pixels, set.channels, size_, view.quarters);
  if (!view.tiles.empty()) pixels = arrange_tiles(pixels, set.channels, size_, view.tiles_across, view.tiles);
  return pixels;
}

void ImageBatches::fill(const Batch& batch, int64_t row, const ImageView& view) const {
  write_patches(planes(view), data_.train.channels, size_, patch_,
                batch.patches.data<float>() + row * batch.patches.shape()[1] * batch.patches.shape()[2]);
}

std::map<std::string, std::string> ImageBatches::fingerprint() const {
  std::map<std::string, std::string> facts{{"training images", hash_of_images(data_.train)}};
  if (data_.validation) facts["validation images"] = hash_of_images(*data_.validation);
  return facts;
}

}  // namespace tsugi
