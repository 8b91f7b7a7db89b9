#include "launch/report/svg.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "launch/report/ticks.h"

namespace tsugi {
namespace {

constexpr double kNumbers = 68.0, kRight = 18.0, kTop = 14.0, kBottom = 52.0;
constexpr int kRamp = 100, kRampColours = 10;

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

std::string colour_class(int colour) {
  if (colour == kMuted) return "muted";
  if (colour == kInk) return "ink";
  if (colour >= kRamp) return "g" + std::to_string(colour - kRamp);
  return "s" + std::to_string(colour % 7);
}

double letter_width(double letters) { return 6.8 * letters; }

std::string title_element(const std::string& title) {
  return title.empty() ? "" : "<title>" + escape_markup(title) + "</title>";
}

std::string text_element(double x, double y, const char* anchor, const std::string& classes, const std::string& text) {
  return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" text-anchor=\"" + anchor + "\" class=\"" + classes +
         "\">" + escape_markup(text) + "</text>\n";
}

struct Box {
  double left, top, right, bottom;
  bool meets(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
};

size_t letters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string star_path(double x, double y, double radius) {
  std::string path;
  for (int i = 0; i < 10; ++i) {
    const double angle = M_PI * (0.2 * i - 0.5), r = i % 2 == 0 ? radius : 0.45 * radius;
    path += (i == 0 ? "M" : "L") + number(x + r * std::cos(angle)) + " " + number(y + r * std::sin(angle));
  }
  return path + "Z";
}

}  // namespace

std::string escape_markup(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 && c != '\n' ? ' ' : c;
    }
  }
  return out;
}

int ramp_colour(size_t i, size_t count) {
  return kRamp + static_cast<int>(count < 2 ? kRampColours / 2 : (kRampColours - 1) * i / (count - 1));
}

struct Plot::Frame {
  Range x, y;
  bool x_log, y_log;
  double left, width, height;

  static double along(const Range& extent, bool log, double value) {
    return log ? std::log(value / extent.low) / std::log(extent.high / extent.low)
               : (value - extent.low) / (extent.high - extent.low);
  }
  // Far outside is as good as outside, and keeps coordinates short.
  double px(double value) const { return left + std::clamp(along(x, x_log, value), -5.0, 5.0) * width; }
  double py(double value) const { return kTop + (1.0 - std::clamp(along(y, y_log, value), -5.0, 5.0)) * height; }
};

Plot::Plot(std::string id, std::string description, Axis x, Axis y, int width, int height)
    : id_(std::move(id)),
      description_(std::move(description)),
      x_(std::move(x)),
      y_(std::move(y)),
      width_(width),
      height_(height) {}

bool Plot::shows(PlotPoint point) const {
  return std::isfinite(point.x) && std::isfinite(point.y) && (!x_.log || point.x > 0.0) && (!y_.log || point.y > 0.0);
}

void Plot::grow(Range& extent, double value) {
  extent.low = extent.any ? std::min(extent.low, value) : value;
  extent.high = extent.any ? std::max(extent.high, value) : value;
  extent.any = true;
}

void Plot::include(PlotPoint point) {
  grow(x_range_, point.x);
  grow(y_range_, point.y);
}

void Plot::include_x(double value) {
  if (shows({value, 1.0})) grow(x_range_, value);
}

void Plot::include_y(double value) {
  if (shows({1.0, value})) grow(y_range_, value);
}

void Plot::point(PlotPoint at, int colour, Mark mark, const std::string& title, const std::string& text) {
  if (!shows(at)) return;
  include(at);
  shapes_.push_back({Shape::Kind::kPoint, {at}, colour, mark, false, title, ""});
  if (!text.empty()) label(at, text, colour);
}

void Plot::line(std::vector<PlotPoint> points, int colour, bool dashed, const std::string& title, bool fit) {
  std::erase_if(points, [this](PlotPoint point) { return !shows(point); });
  if (points.size() < 2) return;
  if (fit) {
    for (const PlotPoint point : points) include(point);
  }
  shapes_.push_back({Shape::Kind::kLine, std::move(points), colour, Mark::kDot, dashed, title, ""});
}

void Plot::band(const std::vector<double>& x, const std::vector<double>& low, const std::vector<double>& high,
                int colour) {
  std::vector<PlotPoint> points;
  for (size_t i = 0; i < x.size(); ++i) {
    if (shows({x[i], low[i]}) && shows({x[i], high[i]})) points.push_back({x[i], high[i]});
  }
  for (size_t i = x.size(); i-- > 0;) {
    if (shows({x[i], low[i]}) && shows({x[i], high[i]})) points.push_back({x[i], low[i]});
  }
  if (points.size() >= 4) shapes_.push_back({Shape::Kind::kBand, std::move(points), colour, Mark::kDot, false, "", ""});
}

void Plot::cloud(std::vector<PlotPoint> points, int colour) {
  std::erase_if(points, [this](PlotPoint point) { return !shows(point); });
  if (points.empty()) return;
  for (const PlotPoint point : points) include(point);
  shapes_.push_back({Shape::Kind::kCloud, std::move(points), colour, Mark::kDot, false, "", ""});
}

void Plot::cell(PlotPoint low, PlotPoint high, int colour, bool outlined, const std::string& title,
                const std::string& text) {
  if (!shows(low) || !shows(high)) return;
  include(low);
  include(high);
  shapes_.push_back({Shape::Kind::kCell, {low, high}, colour, Mark::kDot, outlined, title, text});
}

void Plot::horizontal_bar(double y, double low, double high, int colour, const std::string& title) {
  if (!shows({low, y}) || !shows({high, y})) return;
  include({low, y});
  include({high, y});
  shapes_.push_back({Shape::Kind::kBar, {{low, y}, {high, y}}, colour, Mark::kDot, false, title, ""});
}

void Plot::vertical_bar(double x, double low, double high, int colour, const std::string& title) {
  if (!shows({x, low}) || !shows({x, high})) return;
  include({x, low});
  include({x, high});
  shapes_.push_back({Shape::Kind::kBar, {{x, low}, {x, high}}, colour, Mark::kDot, false, title, ""});
}

void Plot::label(PlotPoint at, const std::string& text, int colour) {
  if (shows(at)) shapes_.push_back({Shape::Kind::kLabel, {at}, colour, Mark::kDot, false, "", text});
}

void Plot::legend(int colour, const std::string& text, bool dashed) { legend_.push_back({colour, text, dashed}); }

std::string Plot::draw(const Shape& shape, const Frame& frame) const {
  const std::string colour = colour_class(shape.colour);
  const double x = frame.px(shape.points[0].x), y = frame.py(shape.points[0].y);
  if (shape.kind == Shape::Kind::kPoint) {
    std::string out;
    switch (shape.mark) {
      case Mark::kStar:
        out = "<path class=\"point star " + colour + "\" d=\"" + star_path(x, y, 9.5);
        break;
      case Mark::kDiamond:
        out = "<path class=\"point diamond " + colour + "\" d=\"M" + number(x - 6) + " " + number(y) + "L" + number(x) +
              " " + number(y - 6) + "L" + number(x + 6) + " " + number(y) + "L" + number(x) + " " + number(y + 6) + "Z";
        break;
      case Mark::kDot:
      case Mark::kRing:
        out = std::string("<circle class=\"point ") + (shape.mark == Mark::kRing ? "ring " : "dot ") + colour +
              "\" cx=\"" + number(x) + "\" cy=\"" + number(y) + "\" r=\"4.5";
    }
    return out + "\">" + title_element(shape.title) + "</" + (out[1] == 'p' ? "path" : "circle") + ">\n";
  }
  if (shape.kind == Shape::Kind::kCell) {
    const double right = frame.px(shape.points[1].x), top = frame.py(shape.points[1].y);
    return "<g class=\"cell" + std::string(shape.dashed ? " best " : " ") + colour + "\"><rect x=\"" + number(x) +
           "\" y=\"" + number(top) + "\" width=\"" + number(right - x) + "\" height=\"" + number(y - top) + "\"/>" +
           title_element(shape.title) +
           text_element(0.5 * (x + right), 0.5 * (y + top) + 4.0, "middle", "inside", shape.label) + "</g>\n";
  }
  std::string path;
  if (shape.kind == Shape::Kind::kCloud) {
    for (const PlotPoint point : shape.points)
      path += "M" + number(frame.px(point.x)) + " " + number(frame.py(point.y)) + "h0";
    return "<path class=\"cloud " + colour + "\" d=\"" + path + "\"/>\n";
  }
  for (size_t i = 0; i < shape.points.size(); ++i) {
    path += (i == 0 ? "M" : "L") + number(frame.px(shape.points[i].x)) + " " + number(frame.py(shape.points[i].y));
  }
  if (shape.kind == Shape::Kind::kBar) {  // with caps
    const double x1 = frame.px(shape.points[1].x), y1 = frame.py(shape.points[1].y);
    const double dx = std::abs(x1 - x) > std::abs(y1 - y) ? 0.0 : 4.0, dy = 4.0 - dx;
    for (const auto& [ex, ey] : {std::pair(x, y), std::pair(x1, y1)}) {
      path += "M" + number(ex - dx) + " " + number(ey - dy) + "L" + number(ex + dx) + " " + number(ey + dy);
    }
  }
  const char* kind = shape.kind == Shape::Kind::kBand ? "band " : shape.kind == Shape::Kind::kBar ? "bar " : "line ";
  return std::string("<path class=\"") + kind + (shape.dashed ? "dashed " : "") + colour + "\" d=\"" + path + "\">" +
         title_element(shape.title) + "</path>\n";
}

std::string Plot::html() const {
  double longest = 0.0;
  for (const std::string& name : y_.categories) longest = std::max(longest, static_cast<double>(letters(name)));
  const double left = y_.categories.empty() ? kNumbers : letter_width(longest) + 24.0;
  Frame frame{x_range_, y_range_, x_.log, y_.log, left, width_ - left - kRight, height_ - kTop - kBottom};
  for (const auto& [extent, log] : {std::pair(&frame.x, x_.log), std::pair(&frame.y, y_.log)}) {
    if (!extent->any) *extent = {1.0, 10.0, true};
    if (log) {
      const double margin = std::max(std::pow(extent->high / extent->low, 0.06), 1.02);
      extent->low /= margin;
      extent->high *= margin;
    } else {
      const double margin = std::max(0.06 * (extent->high - extent->low), 1e-9 + 0.01 * std::abs(extent->high));
      extent->low -= margin;
      extent->high += margin;
    }
  }
  const double names = static_cast<double>(y_.categories.size());
  if (names > 0.0) frame.y = {0.5 - names, 0.5, true};  // the first on top
  const double right = left + frame.width, bottom = kTop + frame.height;
  std::string out = "<div class=\"scroll\"><svg id=\"" + id_ + "\" viewBox=\"0 0 " + std::to_string(width_) + " " +
                    std::to_string(height_) + "\" role=\"img\" aria-label=\"" + escape_markup(description_) +
                    "\">\n<defs><clipPath id=\"" + id_ + "-clip\"><rect x=\"" + number(left) + "\" y=\"" +
                    number(kTop) + "\" width=\"" + number(frame.width) + "\" height=\"" + number(frame.height) +
                    "\"/></clipPath></defs>\n";
  for (const double tick :
       axis_ticks(x_, frame.x.low, frame.x.high, std::max(3, width_ / 90 + (width_ < 400 ? 1 : 0)))) {
    const double at = frame.px(tick);
    out += "<path class=\"grid\" d=\"M" + number(at) + " " + number(kTop) + "V" + number(bottom) + "\"/>\n";
    out += text_element(at, bottom + 18, "middle", "tick", tick_text(x_, tick));
  }
  const auto row = [&](double value, const std::string& text) {
    const double at = frame.py(value);
    out += "<path class=\"grid\" d=\"M" + number(left) + " " + number(at) + "H" + number(right) + "\"/>\n";
    out += text_element(left - 8, at + 4, "end", "tick", text);
  };
  if (y_.categories.empty()) {
    for (const double tick : axis_ticks(y_, frame.y.low, frame.y.high, std::max(3, height_ / 55))) {
      row(tick, tick_text(y_, tick));
    }
  }
  for (size_t i = 0; i < y_.categories.size(); ++i) row(-static_cast<double>(i), y_.categories[i]);
  out += text_element(left + 0.5 * frame.width, height_ - 10, "middle", "axis", x_.label);
  const double middle = kTop + 0.5 * frame.height;
  if (!y_.label.empty())
    out += "<text transform=\"translate(15 " + number(middle) +
           ") rotate(-90)\" text-anchor=\"middle\" class=\"axis\">" + escape_markup(y_.label) + "</text>\n";
  out += "<g clip-path=\"url(#" + id_ + "-clip)\">\n";
  std::vector<Box> taken;
  for (const Shape::Kind kind : {Shape::Kind::kCell, Shape::Kind::kBand, Shape::Kind::kCloud, Shape::Kind::kLine,
                                 Shape::Kind::kBar, Shape::Kind::kPoint}) {
    for (const Shape& shape : shapes_) {
      if (shape.kind != kind) continue;
      out += draw(shape, frame);
      if (kind != Shape::Kind::kPoint && kind != Shape::Kind::kBar) continue;
      const double x = frame.px(shape.points[0].x), y = frame.py(shape.points[0].y);
      const double x1 = frame.px(shape.points.back().x), y1 = frame.py(shape.points.back().y);
      const double margin = kind == Shape::Kind::kPoint ? 5.0 : 2.0;
      taken.push_back(
          {std::min(x, x1) - margin, std::min(y, y1) - margin, std::max(x, x1) + margin, std::max(y, y1) + margin});
    }
  }
  out += "</g>\n";
  for (const Shape& shape : shapes_) {
    if (shape.kind != Shape::Kind::kLabel) continue;
    const double x = frame.px(shape.points[0].x), y = frame.py(shape.points[0].y);
    const double wide = letter_width(static_cast<double>(letters(shape.label)));
    const struct {
      double dx, dy;
      const char* anchor;
      double from;  // left edge over the width
    } places[] = {{11, 4, "start", 0.0},   {-11, 4, "end", 1.0},   {0, -13, "middle", 0.5}, {0, 22, "middle", 0.5},
                  {11, -12, "start", 0.0}, {-11, -12, "end", 1.0}, {11, 20, "start", 0.0},  {-11, 20, "end", 1.0},
                  {11, -26, "start", 0.0}, {11, 34, "start", 0.0}, {-11, -26, "end", 1.0},  {-11, 34, "end", 1.0}};
    for (const auto& place : places) {
      const double from = x + place.dx - place.from * wide, base = y + place.dy;
      const Box box{from, base - 11, from + wide, base + 3};
      if (box.left < left || box.right > right || box.top < kTop || box.bottom > bottom) continue;
      if (std::any_of(taken.begin(), taken.end(), [&](const Box& other) { return box.meets(other); })) continue;
      taken.push_back(box);
      out += text_element(x + place.dx, base, place.anchor, "label " + colour_class(shape.colour), shape.label);
      break;
    }
  }
  out += "</svg></div>\n";
  if (!legend_.empty()) out += "<ul class=\"legend\">\n";
  for (const LegendEntry& entry : legend_) {
    out += "<li><i class=\"" + colour_class(entry.colour) + (entry.dashed ? " dashed" : "") + "\"></i>" +
           escape_markup(entry.text) + "</li>\n";
  }
  return legend_.empty() ? out : out + "</ul>\n";
}

}  // namespace tsugi
