#include "model/loss_svg.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/os.h"

enum { width = 860, height = 460, left = 64, right = 24, top = 48, bottom = 56, buckets = 700 };

dure_status dure_curve_add(dure_curve *curve, double step, double loss) {
  if (curve->count == curve->capacity) {
    size_t capacity = curve->capacity == 0 ? 256 : 2 * curve->capacity;
    dure_curve_point *points = realloc(curve->points, capacity * sizeof(*points));
    if (points == NULL)
      return dure_fail(DURE_OUT_OF_MEMORY, "out of memory keeping a curve of %zu points", curve->count);
    curve->points = points;
    curve->capacity = capacity;
  }
  curve->points[curve->count++] = (dure_curve_point){step, loss};
  return NULL;
}

void dure_curve_clear(dure_curve *curve) {
  free(curve->points);
  memset(curve, 0, sizeof(*curve));
}

// ---- text --------------------------------------------------------------------------------------------------------

typedef struct drawing {
  char *text;
  size_t size, capacity;
  bool failed;
  double x_last, y_low, y_high;
} drawing;

static void write_text(drawing *d, const char *format, ...) DURE_PRINTF(2, 3);
static void write_text(drawing *d, const char *format, ...) {
  char piece[1024];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(piece, sizeof(piece), format, arguments);
  va_end(arguments);
  if (length < 0 || (size_t)length >= sizeof(piece)) {
    d->failed = true;
    return;
  }
  if (d->size + (size_t)length > d->capacity) {
    size_t capacity = 2 * d->capacity + 8192;
    char *text = realloc(d->text, capacity);
    if (text == NULL) {
      d->failed = true;
      return;
    }
    d->text = text;
    d->capacity = capacity;
  }
  memcpy(d->text + d->size, piece, (size_t)length);
  d->size += (size_t)length;
}

static void write_escaped(drawing *d, const char *text) {
  for (; *text != '\0'; text++) {
    const char *entity = *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : *text == '&' ? "&amp;" : NULL;
    if (entity != NULL) {
      write_text(d, "%s", entity);
    } else {
      write_text(d, "%c", (unsigned char)*text < ' ' ? ' ' : *text);  // XML has no control characters
    }
  }
}

// ---- axes --------------------------------------------------------------------------------------------------------

static double x_of(const drawing *d, double step) { return left + (width - left - right) * step / d->x_last; }
static double y_of(const drawing *d, double loss) {
  return top + (height - top - bottom) * (d->y_high - loss) / (d->y_high - d->y_low);
}

// 1, 2 or 5 times a power of ten, so that about `count` of them fill `span`.
static double tick_distance(double span, double count) {
  double rough = span / count, power = pow(10, floor(log10(rough))), factor = rough / power;
  return power * (factor <= 1 ? 1 : factor <= 2 ? 2 : factor <= 5 ? 5 : 10);
}

static void include(const dure_curve *curve, double *low, double *high) {
  for (size_t i = 0; i < curve->count; i++) {
    double loss = curve->points[i].loss;
    if (!isfinite(loss)) continue;
    if (loss < *low) *low = loss;
    if (loss > *high) *high = loss;
  }
}

static void choose_range(drawing *d, const dure_curve *training, const dure_curve *held_out, double last_step) {
  double low = INFINITY, high = -INFINITY;
  include(training, &low, &high);
  include(held_out, &low, &high);
  if (!(low <= high)) low = 0, high = 1;
  if (high - low < 1e-3) high = low + 1e-3;
  double distance = tick_distance(high - low, 6);
  d->y_low = floor(low / distance) * distance;
  d->y_high = ceil(high / distance) * distance;
  d->x_last = last_step >= 1 ? last_step : 1;
  if (training->count > 0) d->x_last = fmax(d->x_last, training->points[training->count - 1].step);
}

static void draw_axes(drawing *d) {
  double distance = tick_distance(d->y_high - d->y_low, 6);
  int decimals = distance >= 1 ? 0 : (int)ceil(-log10(distance) - 1e-9);
  for (int i = 0; i <= 40; i++) {
    double loss = d->y_low + i * distance;
    if (loss > d->y_high + distance / 2) break;
    write_text(d, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", left, width - right,
               y_of(d, loss), y_of(d, loss));
    write_text(d, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.*f</text>\n", left - 8, y_of(d, loss) + 4, decimals,
               loss);
  }
  distance = fmax(1, tick_distance(d->x_last, 8));
  for (int i = 0; i <= 40; i++) {
    double step = i * distance;
    if (step > d->x_last * (1 + 1e-9)) break;
    write_text(d, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n", x_of(d, step), x_of(d, step),
               top, height - bottom);
    write_text(d, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>\n", x_of(d, step), height - bottom + 18,
               step);
  }
  write_text(d, "<rect class=\"frame\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n", left, top,
             width - left - right, height - top - bottom);
  write_text(d, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">step</text>\n", (left + width - right) / 2,
             height - 14);
  write_text(d, "<text transform=\"translate(18 %d) rotate(-90)\" text-anchor=\"middle\">loss (nats a token)</text>\n",
             (top + height - bottom) / 2);
}

// The mean of the points that share a column of the picture.
static void draw_training(drawing *d, const dure_curve *curve) {
  write_text(d, "<polyline class=\"training\" points=\"");
  for (size_t i = 0; i < curve->count;) {
    double column = floor(curve->points[i].step / d->x_last * buckets), steps = 0, losses = 0, count = 0;
    for (; i < curve->count && floor(curve->points[i].step / d->x_last * buckets) <= column; i++) {
      if (!isfinite(curve->points[i].loss)) continue;
      steps += curve->points[i].step;
      losses += curve->points[i].loss;
      count++;
    }
    if (count > 0) write_text(d, "%.1f,%.1f ", x_of(d, steps / count), y_of(d, losses / count));
  }
  write_text(d, "\"/>\n");
}

static void draw_held_out(drawing *d, const dure_curve *curve) {
  if (curve->count == 0) return;
  write_text(d, "<polyline class=\"held-out\" points=\"");
  for (size_t i = 0; i < curve->count; i++) {
    if (isfinite(curve->points[i].loss))
      write_text(d, "%.1f,%.1f ", x_of(d, curve->points[i].step), y_of(d, curve->points[i].loss));
  }
  write_text(d, "\"/>\n");
  for (size_t i = 0; i < curve->count && curve->count <= 100; i++) {
    if (!isfinite(curve->points[i].loss)) continue;
    write_text(d, "<circle class=\"dot\" r=\"3\" cx=\"%.1f\" cy=\"%.1f\"/>\n", x_of(d, curve->points[i].step),
               y_of(d, curve->points[i].loss));
  }
}

static void draw_legend(drawing *d, const char *class_name, const char *label, const dure_curve *curve, int y) {
  if (curve->count == 0) return;
  const int x = width - right - 210;
  write_text(d, "<line class=\"%s\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n", class_name, x, x + 26, y - 4, y - 4);
  write_text(d, "<text x=\"%d\" y=\"%d\">%s: %.4f</text>\n", x + 34, y, label, curve->points[curve->count - 1].loss);
}

dure_status dure_loss_svg_write(const char *path, const char *title, const dure_curve *training,
                                const dure_curve *held_out, double last_step) {
  drawing d = {0};
  choose_range(&d, training, held_out, last_step);
  write_text(
      &d,
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"13\">\n",
      width, height);
  write_text(&d,
             "<style>text{fill:#333}.grid{stroke:#e4e4e4}.frame{fill:none;stroke:#999}.training,.held-out{fill:none;"
             "stroke-width:1.6}.training{stroke:#1f6fb4}.held-out{stroke:#d1571b}.dot{fill:#d1571b}</style>\n");
  write_text(&d, "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n<text x=\"%d\" y=\"28\" font-size=\"15\">", width,
             height, left);
  write_escaped(&d, title);
  write_text(&d, "</text>\n");
  draw_axes(&d);
  draw_training(&d, training);
  draw_held_out(&d, held_out);
  draw_legend(&d, "training", "training", training, top + 20);
  draw_legend(&d, "held-out", "held out", held_out, top + 38);
  write_text(&d, "</svg>\n");
  dure_status status = d.failed ? dure_fail(DURE_OUT_OF_MEMORY, "out of memory drawing '%s'", path)
                                : dure_os_write_file(path, d.text, d.size);
  free(d.text);
  return status;
}
