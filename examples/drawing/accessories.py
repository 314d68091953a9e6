"""What one carries or puts on: a handbag, a backpack, a watch, sunglasses, perfume."""

from __future__ import annotations

import math

from drawing.canvas import Canvas, Outline, block, flipped, mirrored, oval, trace


def handbag() -> Canvas:
    """A brown leather handbag with two handles."""
    canvas = Canvas()
    body = mirrored(
        trace("M 300 330 L 478 334 C 490 440 508 540 514 626 C 516 660 500 676 470 678 C 420 684 360 686 300 686")
    )
    far = mirrored(trace("M 300 96 C 374 96 398 190 404 340 L 384 340 C 378 214 356 118 300 118"))
    near = mirrored(trace("M 300 122 C 392 122 418 226 424 392 L 400 392 C 394 246 372 146 300 146"))
    canvas.paint(oval(300, 690, 212, 14), "#5d5048", blur=10, opacity=0.6)
    canvas.paint(far, ("#5c3219", "#43230f"))
    canvas.paint(body, ("#96592f", "#6f3d1d"))
    for side in (list, flipped):
        canvas.line(side(trace("M 482 340 C 492 440 506 540 514 640")), 60, "#3d1f0c", clip=body, blur=26, opacity=0.75)
        canvas.line(side(trace("M 440 470 C 430 540 436 600 448 680")), 16, "#4a260f", clip=body, blur=12, opacity=0.5)
    canvas.line(trace("M 80 680 L 520 680"), 46, "#3a1d0b", clip=body, blur=22, opacity=0.75)
    canvas.line(trace("M 180 460 C 220 500 230 560 216 640"), 54, "#c98b58", clip=body, blur=30, opacity=0.55)
    canvas.line(trace("M 350 440 C 366 500 360 560 372 640"), 34, "#b97b49", clip=body, blur=24, opacity=0.5)
    band = mirrored(trace("M 300 326 L 480 330 L 486 396 C 420 404 360 406 300 406"))
    canvas.line(trace("M 112 408 C 240 420 360 420 488 404"), 10, "#3a1d0b", clip=body, blur=6, opacity=0.7)
    canvas.paint(band, ("#a66a3b", "#80491f"))
    for y in (338, 394):
        canvas.line(trace(f"M 118 {y} C 240 {y + 8} 360 {y + 8} 482 {y}"), 1.6, "#e0b180", dash=(7, 5))
    canvas.line(trace("M 124 328 L 476 328"), 7, "#4a2812")
    canvas.line(trace("M 126 327 L 474 327"), 2, "#d9b36c", dash=(3, 2))
    pocket = mirrored(trace("M 300 470 L 408 468 C 416 520 420 570 420 604 C 420 622 410 630 396 630 L 300 632"))
    canvas.line(pocket, 9, "#3a1d0b", clip=body, blur=5, opacity=0.55)
    canvas.paint(pocket, ("#9d6035", "#754121"))
    canvas.line([(300 + (x - 300) * 0.94, 550 + (y - 550) * 0.92) for x, y in pocket], 1.6, "#dcab78", dash=(7, 5))
    canvas.line([(x, y) for x, y in trace("M 196 492 L 404 492")], 3.5, "#4a2812")
    canvas.paint(near, ("#8d5128", "#6d3b1a"))
    canvas.line(trace("M 186 340 C 194 226 222 134 300 134 C 378 134 406 226 414 340"), 1.6, "#e0b180", dash=(7, 5))
    for side in (list, flipped):
        canvas.paint(side(trace("M 394 376 L 430 376 L 434 440 L 412 456 L 390 440 Z")), ("#8d5128", "#6a3818"))
        canvas.line(side(oval(412, 368, 17, 12)), 6, "#b98d3f")
        canvas.line(side(oval(412, 367, 17, 12)), 2.5, "#f3d894")
        canvas.paint(side(oval(412, 434, 6)), ("#f6dfa0", "#a67c30"))
    canvas.paint(block(270, 548, 60, 24, 4), ("#f0d48c", "#b48a3b"))
    canvas.line(trace("M 276 560 L 324 560"), 2, "#8b6a2a")
    canvas.grain(body, 5, size=1.3, seed=2)
    return canvas


def backpack() -> Canvas:
    """A blue and black backpack, seen from the front."""
    canvas = Canvas()
    body = mirrored(
        trace(
            "M 300 118 C 380 118 440 150 462 226 C 486 320 498 440 500 560 C 500 650 490 700 452 708 "
            "C 400 716 350 718 300 718"
        )
    )
    canvas.paint(oval(300, 718, 190, 12), "#64676d", blur=10, opacity=0.55)
    canvas.line(trace("M 262 124 C 262 62 338 62 338 124"), 15, "#1a1b1f")
    for side in (list, flipped):
        canvas.paint(
            side(trace("M 430 180 C 500 240 536 420 524 610 C 522 650 508 680 480 700 L 430 700 Z")),
            ("#2c2e34", "#141518"),
        )
    canvas.paint(body, ("#2f66b8", "#1e4a92"))
    flank = trace("M 470 180 C 440 300 436 480 446 720 L 520 720 L 520 180 Z")
    for side in (list, flipped):
        canvas.paint(side(flank), ("#2b2d33", "#16171a"), clip=body)
        canvas.line(side(trace("M 500 240 L 504 700")), 34, "#000000", clip=body, blur=14, opacity=0.6)
        canvas.line(side(trace("M 448 250 C 436 330 434 480 446 712")), 2, "#7f9fd6", clip=body, dash=(6, 4))
    canvas.line(trace("M 210 180 C 250 140 350 140 390 180"), 50, "#7ba6e6", clip=body, blur=24, opacity=0.55)
    zip_line = trace("M 172 400 C 168 280 196 178 300 174 C 404 178 432 280 428 400")
    canvas.line(zip_line, 10, "#122c59")
    canvas.line(zip_line, 4, "#0a0b0d")
    canvas.line(zip_line, 1.5, "#aeb3bc", dash=(2, 2))
    pocket = mirrored(
        trace("M 300 410 L 404 410 C 426 412 432 430 434 460 L 438 640 C 438 668 426 680 400 682 L 300 686")
    )
    canvas.line(pocket, 14, "#0c2350", clip=body, blur=7, opacity=0.75)
    canvas.paint(pocket, ("#2a5eae", "#1a4186"))
    canvas.line(trace("M 180 456 C 260 466 340 466 420 456"), 9, "#0f264d")
    canvas.line(trace("M 180 456 C 260 466 340 466 420 456"), 1.5, "#aeb3bc", dash=(2, 2))
    canvas.line(trace("M 200 520 C 240 560 236 620 226 680"), 30, "#5a8bd6", clip=pocket, blur=18, opacity=0.5)
    canvas.line(trace("M 164 684 L 440 684"), 34, "#0b1f47", clip=pocket, blur=16, opacity=0.7)
    canvas.paint(block(252, 560, 96, 40, 5), "#14161a")
    canvas.line(trace("M 268 588 L 286 572 L 300 584 L 314 572 L 332 588"), 3.5, "#e9ecf1")
    for px, py in ((172, 400), (420, 458)):
        canvas.line([(px, py), (px + 3, py + 30)], 5, "#c7cbd2")
        canvas.paint(block(px - 4, py + 24, 14, 26, 5), "#1a1b1f")
    canvas.line(trace("M 200 330 C 260 342 340 342 400 330"), 12, "#17181b")
    canvas.line(trace("M 200 330 C 260 342 340 342 400 330"), 1.2, "#8d929b", dash=(5, 4))
    canvas.paint(block(282, 318, 36, 34, 5), ("#42454c", "#1b1c20"))
    canvas.grain(body, 6, size=1.3, seed=5)
    return canvas


def watch() -> Canvas:
    """A wrist watch with a black dial, a steel case and a black strap."""
    canvas = Canvas()
    x, y = 300, 400
    canvas.paint(block(222, 52, 156, 704, 24), "#8d9096", blur=9, opacity=0.4)
    upper = trace("M 226 64 Q 228 52 244 52 L 356 52 Q 372 52 374 64 L 388 270 L 212 270 Z")
    lower = trace("M 212 530 L 388 530 L 374 736 Q 372 750 356 750 L 244 750 Q 228 750 226 736 Z")
    for strap in (upper, lower):
        canvas.paint(strap, ("#3a3b3e", "#222326"), across=True)
        canvas.line([(252, 60), (240, 740)], 30, "#606369", clip=strap, blur=14, opacity=0.6)
        canvas.line([(366, 60), (372, 740)], 30, "#08090a", clip=strap, blur=14, opacity=0.8)
        canvas.grain(strap, 6, size=1.6, seed=3)
    for side in (list, flipped):
        canvas.line(side([(362, 66), (374, 262)]), 1.6, "#8b8e94", dash=(7, 5))
        canvas.line(side([(374, 538), (362, 736)]), 1.6, "#8b8e94", dash=(7, 5))
        canvas.paint(side(trace("M 352 214 L 398 230 L 410 318 L 350 280 Z")), ("#e6e8eb", "#6f747c"))
        canvas.paint(side(trace("M 352 586 L 398 570 L 410 482 L 350 520 Z")), ("#8a8f97", "#d3d6da"))
    for hole in (600, 632, 664, 696):
        canvas.paint(oval(300, hole + 10, 7, 9), "#0c0d0e")
    canvas.paint(block(478, 380, 30, 40, 7), ("#f2f3f5", "#767b83"))
    for notch in range(385, 418, 7):
        canvas.line([(484, notch), (506, notch)], 1.6, "#5d626a")
    canvas.paint(oval(x, y, 184), ("#f7f8f9", "#777c85"))
    canvas.paint(oval(x, y, 172), ("#868b94", "#f2f3f5"))
    canvas.paint(oval(x, y, 162), ("#d7dade", "#8f949c"))
    dial = oval(x, y, 151)
    canvas.paint(dial, ("#2b2d31", "#0e0f11"))
    canvas.line(oval(x, y, 151), 14, "#000000", clip=dial, blur=6, opacity=0.7)
    for minute in range(60):
        angle = math.radians(minute * 6)
        hour = minute % 5 == 0
        ends = [(x + r * math.sin(angle), y - r * math.cos(angle)) for r in (138, 108 if hour else 130)]
        canvas.line(ends, 7 if hour else 1.8, "#eef0f2" if hour else "#a6abb2")
    small = oval(x, y + 58, 34)
    canvas.paint(small, ("#0b0c0d", "#25272a"))
    canvas.line(small, 1.6, "#7d828a")
    canvas.line([(x, y + 58), (x + 16, y + 40)], 2.4, "#d8dbdf")
    canvas.paint(block(x + 62, y - 13, 36, 26, 3), "#f2f3f4")
    canvas.line([(x + 76, y - 7), (x + 76, y + 7)], 3, "#202225")
    canvas.line([(x + 85, y - 7), (x + 85, y + 7)], 3, "#202225")
    for tip, width in (((x - 62, y - 46), 9), ((x + 58, y - 96), 7)):
        canvas.line([(x + 3, y + 4), (tip[0] + 3, tip[1] + 4)], width, "#000000", blur=3, opacity=0.7)
        canvas.line([(x, y), tip], width, "#c3c8ce")
        canvas.line([(x, y), tip], width / 3, "#ffffff")
    canvas.line([(x - 8, y + 34), (x + 20, y - 116)], 2.2, "#d2453f")
    canvas.paint(oval(x, y, 9), ("#f4f5f6", "#7d828a"))
    glare = trace("M 170 340 C 200 270 270 244 340 252 C 280 280 220 330 186 420 Z")
    canvas.paint(glare, "#ffffff", clip=dial, blur=14, opacity=0.16)
    return canvas


def sunglasses() -> Canvas:
    """Black sunglasses with dark gradient lenses, seen from the front and a little from the right."""
    canvas = Canvas(turn=-9, zoom=0.8)

    def near(points: Outline) -> Outline:
        """The half at the right, somewhat larger."""
        return [(330 + (x - 300) * 0.96, y) for x, y in points]

    def far(points: Outline) -> Outline:
        """The half at the left, foreshortened."""
        return [(330 - (x - 300) * 0.78, 400 + (y - 400) * 0.95) for x, y in points]

    frame = trace(
        "M 300 352 C 330 350 346 338 372 334 C 430 326 500 330 548 344 L 556 372 C 548 380 544 388 542 402 "
        "C 536 452 506 484 452 486 C 396 488 352 460 336 412 C 330 394 318 384 300 384"
    )
    lens = trace(
        "M 350 372 C 360 350 400 346 440 348 C 490 350 526 356 528 376 C 530 432 502 470 452 471 C 402 472 362 444 "
        "350 404 C 347 394 347 382 350 372 Z"
    )
    canvas.paint(oval(330, 516, 220, 8), "#7f8288", blur=9, opacity=0.4)
    canvas.line(trace("M 566 352 C 520 300 420 276 300 282"), 13, "#1b1c20")
    arm = trace("M 140 352 L 136 384 C 100 380 70 366 30 364 C 14 368 8 384 -4 392 C -14 378 -2 340 26 338 Z")
    canvas.paint(arm, ("#3a3c42", "#141518"))
    canvas.line(trace("M 134 356 C 100 352 70 344 30 344"), 3, "#8b8f98", blur=1.5, opacity=0.8)
    canvas.paint(near(frame) + list(reversed(far(frame))), ("#34363b", "#101114"))
    for side in (near, far):
        canvas.paint(side(lens), ("#1d1f24", "#8b8087"))
        canvas.line(side(lens), 3, "#050506")
        sheen = side(trace("M 384 356 L 430 352 C 410 400 400 430 386 456 L 362 430 Z"))
        canvas.paint(sheen, "#ffffff", clip=side(lens), blur=9, opacity=0.2)
        canvas.line(side(trace("M 372 338 C 430 330 500 334 544 348")), 3, "#7d8189", blur=1.5, opacity=0.9)
        canvas.paint(side(block(524, 352, 20, 6, 3)), "#d9dbdf")
    return canvas


def perfume() -> Canvas:
    """A glass perfume bottle with a golden cap, standing on a white table."""
    canvas = Canvas()
    glass = block(186, 300, 228, 336, 26)
    inner = block(206, 322, 188, 290, 16)
    canvas.paint(glass, ("#fbeef0", "#f3d7da"), across=True)
    liquid = trace("M 206 356 L 394 356 L 394 596 Q 394 612 378 612 L 222 612 Q 206 612 206 596 Z")
    canvas.paint(inner, "#fdf6f7")
    canvas.paint(liquid, ("#f6b9c2", "#e58a9b"))
    canvas.line([(212, 330), (212, 606)], 18, "#c9627a", clip=inner, blur=9, opacity=0.55)
    canvas.line([(388, 330), (388, 606)], 18, "#c9627a", clip=inner, blur=9, opacity=0.55)
    canvas.paint(block(236, 330, 26, 276, 12), "#ffffff", clip=inner, blur=7, opacity=0.75)
    canvas.paint(block(364, 340, 10, 250, 5), "#ffffff", clip=inner, blur=3, opacity=0.6)
    canvas.line([(206, 356), (394, 356)], 3, "#d9798c")
    canvas.line([(300, 300), (300, 590)], 4, "#e9c9ce", opacity=0.9)
    canvas.line(glass, 3, "#cf9fa8")
    canvas.line(block(192, 306, 216, 324, 22), 3, "#ffffff", opacity=0.9)
    canvas.paint(block(196, 612, 208, 18, 9), "#ffffff", blur=5, opacity=0.8)
    canvas.paint(block(262, 276, 76, 28, 4), ("#9b7330", "#f3dc9c"), across=True)
    canvas.line([(264, 290), (336, 290)], 2, "#6e4f1d")
    canvas.paint(block(240, 146, 120, 132, 10), ("#8f6a2b", "#d9b566"), across=True)
    canvas.paint(block(256, 150, 30, 124, 8), "#fff3c9", blur=7, opacity=0.9)
    canvas.paint(block(334, 150, 12, 124, 6), "#fff0c0", blur=4, opacity=0.6)
    canvas.paint(block(240, 146, 120, 12, 6), "#f7e5b0", opacity=0.8)
    canvas.paint(block(246, 430, 108, 108, 3), "#fffdf8")
    canvas.line(block(252, 436, 96, 96, 2), 1.6, "#c9a24e")
    canvas.line(trace("M 300 456 C 284 474 282 494 300 506 C 318 494 316 474 300 456 Z"), 2.4, "#b98d3f")
    canvas.line([(270, 520), (330, 520)], 2.4, "#b98d3f")
    canvas.reflect(637, 0.32, 120)
    canvas.line([(196, 637), (404, 637)], 5, "#8c6c70", blur=5, opacity=0.55)
    return canvas
