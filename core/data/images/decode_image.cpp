// The only place that knows libpng and libjpeg-turbo, which browsers and systems keep safe.
#include <glog/logging.h>
#include <png.h>
#include <turbojpeg.h>

#include <algorithm>
#include <memory>

#include "core/data/images/image_set.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

/// A file under way: what it is called, and what it may become.
struct Picture {
  std::span<const uint8_t> file;
  const std::string& name;
  const ImageLimits& limits;

  Error refuse(const std::string& reason) const { return Error(ExitCode::kData, name + ": " + reason); }
  /// An empty set of this size. Nothing is allocated before the size is known to be allowed.
  ImageSet start(int64_t width, int64_t height, int64_t channels) const {
    if (width < 1 || height < 1 || width > limits.pixels / height) {
      throw refuse("has " + std::to_string(width) + "x" + std::to_string(height) + " pixels; the limit is " +
                   std::to_string(limits.pixels) + " in all");
    }
    return {name, height, width, channels, {}, {}, {}};
  }
};

ImageSet decode_png(const Picture& picture) {
  struct Reader {
    png_image image{};
    ~Reader() { png_image_free(&image); }
  } reader;
  png_image& image = reader.image;
  image.version = PNG_IMAGE_VERSION;
  const auto damaged = [&] { return picture.refuse("is damaged: " + std::string(image.message)); };
  if (png_image_begin_read_from_memory(&image, picture.file.data(), picture.file.size()) == 0) throw damaged();
  const bool coloured = (image.format & PNG_FORMAT_FLAG_COLOR) != 0;
  ImageSet set = picture.start(image.width, image.height, coloured ? 3 : 1);
  image.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;  // 16 bits are finer, not of another scale
  // Alpha comes along and is dropped: libpng would mix the picture with a background.
  image.format = coloured ? PNG_FORMAT_RGBA : PNG_FORMAT_GA;
  std::vector<uint8_t> with_alpha(PNG_IMAGE_SIZE(image));
  if (png_image_finish_read(&image, nullptr, with_alpha.data(), 0, nullptr) == 0) throw damaged();
  set.pixels.reserve(static_cast<size_t>(set.image_bytes()));
  const auto stride = static_cast<size_t>(set.channels + 1);
  for (size_t i = 0; i < with_alpha.size(); ++i) {
    if (i % stride != stride - 1) set.pixels.push_back(with_alpha[i]);
  }
  return set;
}

ImageSet decode_jpeg(const Picture& picture) {
  const std::unique_ptr<void, int (*)(tjhandle)> reader(tjInitDecompress(), tjDestroy);
  CHECK(reader != nullptr) << tjGetErrorStr2(nullptr);
  const auto damaged = [&] { return picture.refuse("is damaged: " + std::string(tjGetErrorStr2(reader.get()))); };
  const auto size = static_cast<unsigned long>(picture.file.size());
  int width = 0;
  int height = 0;
  int sampling = 0;
  int colours = 0;
  if (tjDecompressHeader3(reader.get(), picture.file.data(), size, &width, &height, &sampling, &colours) != 0) {
    throw damaged();
  }
  if (colours == TJCS_CMYK || colours == TJCS_YCCK) throw picture.refuse("is a JPEG for print (CMYK), not grey or RGB");
  ImageSet set = picture.start(width, height, colours == TJCS_GRAY ? 1 : 3);
  set.pixels.resize(static_cast<size_t>(set.image_bytes()));
  const int format = set.channels == 1 ? TJPF_GRAY : TJPF_RGB;
  const int flags = TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS;
  if (tjDecompress2(reader.get(), picture.file.data(), size, set.pixels.data(), width, 0, height, format, flags) != 0) {
    throw damaged();
  }
  return set;
}

bool begins_with(std::span<const uint8_t> file, std::initializer_list<uint8_t> magic) {
  return file.size() >= magic.size() && std::equal(magic.begin(), magic.end(), file.begin());
}

}  // namespace

ImageSet decode_image(std::span<const uint8_t> file, const std::string& name, const ImageLimits& limits) {
  const Picture picture{file, name, limits};
  if (static_cast<int64_t>(file.size()) > limits.file_bytes) {
    throw picture.refuse("is larger than " + std::to_string(limits.file_bytes) + " bytes");
  }
  if (begins_with(file, {0x89, 'P', 'N', 'G'})) return decode_png(picture);
  if (begins_with(file, {0xFF, 0xD8, 0xFF})) return decode_jpeg(picture);
  throw picture.refuse("is no PNG or JPEG image");
}

}  // namespace tsugi
