"""What one wears: a T-shirt, a dress, a shoe."""

from __future__ import annotations

from drawing.canvas import Canvas, block, flipped, mirrored, oval, trace


def tshirt() -> Canvas:
    """A navy T-shirt with a round neck, laid flat."""
    canvas = Canvas()
    half = trace(
        "M 300 196 C 330 196 350 168 358 118 C 392 128 428 138 458 156 C 500 184 530 262 556 330 "
        "C 532 352 500 366 470 374 C 462 350 456 332 448 314 C 450 440 456 580 462 716 C 410 728 350 730 300 730"
    )
    body = mirrored(half)
    back = mirrored(trace("M 300 196 C 332 196 350 168 358 118 C 340 126 320 130 300 130"))
    whole = mirrored([(300, 130), *trace("M 300 130 C 320 130 340 126 358 118"), *half[29:]])
    canvas.paint([(x + 4, y + 10) for x, y in body], "#8a8f9c", blur=10, opacity=0.45)
    canvas.paint(back, "#141b33")
    canvas.line(trace("M 243 121 C 262 134 338 134 357 121"), 11, "#1b2442", clip=whole)
    canvas.paint(body, ("#2a3966", "#202c52"))
    for side in (list, flipped):
        canvas.line(side(trace("M 452 180 C 436 220 440 270 449 316")), 5, "#121a36", clip=body, blur=4, opacity=0.8)
        canvas.line(side(trace("M 470 420 L 474 712")), 44, "#0f1731", clip=body, blur=20, opacity=0.75)
        canvas.line(side(trace("M 440 330 C 410 380 392 420 384 470")), 16, "#11193a", clip=body, blur=10, opacity=0.5)
        canvas.line(side(trace("M 432 330 C 396 372 372 402 352 440")), 9, "#51629a", clip=body, blur=9, opacity=0.5)
        canvas.line(side(trace("M 560 326 C 534 350 500 364 466 372")), 26, "#10183a", clip=body, blur=12, opacity=0.5)
        canvas.line(side(trace("M 500 230 C 512 262 522 292 532 320")), 18, "#4a5b92", clip=body, blur=12, opacity=0.5)
        hem = trace("M 552 316 C 528 338 496 353 464 361")
        canvas.line(side(hem), 1, "#4c5b8d", clip=body, dash=(4, 3))
    canvas.line(trace("M 250 420 C 262 520 244 620 258 716"), 26, "#11193a", clip=body, blur=18, opacity=0.4)
    canvas.line(trace("M 352 480 C 338 560 352 640 344 720"), 22, "#11193a", clip=body, blur=18, opacity=0.35)
    canvas.line(trace("M 300 260 C 292 360 306 460 298 640"), 60, "#4a5b92", clip=body, blur=34, opacity=0.45)
    canvas.line(trace("M 130 708 C 240 720 360 720 470 708"), 1, "#4c5b8d", clip=body, dash=(4, 3))
    collar = trace("M 242 118 C 250 168 270 196 300 196 C 330 196 350 168 358 118")
    canvas.line(collar, 15, "#1c2647", clip=whole)
    canvas.line([(x, y - 5) for x, y in collar], 2, "#33426f", clip=whole, opacity=0.8)
    seam = trace("M 233 124 C 243 178 266 206 300 206 C 334 206 357 178 367 124")
    canvas.line(seam, 1, "#55659a", clip=whole, dash=(4, 3))
    canvas.paint(block(280, 136, 40, 15, 2), "#e8e8ee")
    canvas.grain(body, 5, seed=1)
    return canvas


def dress() -> Canvas:
    """A red sleeveless dress with a belt, as if worn by nobody."""
    canvas = Canvas()
    body = mirrored(
        trace(
            "M 300 176 C 336 176 352 140 360 88 L 402 98 C 396 160 410 206 434 240 C 420 280 396 318 388 350 "
            "C 404 440 452 590 482 704 C 430 726 360 736 300 736"
        )
    )
    back = mirrored(trace("M 300 176 C 336 176 352 140 360 88 C 344 112 322 120 300 120"))
    canvas.paint([(x + 3, y + 9) for x, y in body], "#a08c8d", blur=10, opacity=0.45)
    canvas.paint(back, ("#7a0f1c", "#5f0a15"))
    canvas.paint(body, ("#d0243a", "#b3162c"))
    folds = ((232, 160, 16), (262, 222, 20), (292, 284, 14), (322, 346, 20), (352, 412, 16), (376, 460, 12))
    for top, bottom, width in folds:
        fold = trace(f"M {top} 374 C {top} 470 {bottom} 600 {bottom} 740")
        canvas.line(fold, width * 1.4, "#7c0a1a", clip=body, blur=9, opacity=0.62)
        canvas.line([(px + width, py) for px, py in fold], width * 0.8, "#f0596b", clip=body, blur=8, opacity=0.5)
    for side in (list, flipped):
        canvas.line(side(trace("M 434 236 C 420 280 396 318 388 350")), 34, "#790a19", clip=body, blur=14, opacity=0.65)
        canvas.line(side(trace("M 392 380 C 410 460 450 590 482 704")), 30, "#790a19", clip=body, blur=14, opacity=0.6)
        canvas.line(side(trace("M 424 250 C 396 262 376 270 356 266")), 8, "#7c0a1a", clip=body, blur=6, opacity=0.6)
        canvas.line(side(trace("M 372 346 C 368 316 362 296 354 272")), 7, "#7c0a1a", clip=body, blur=5, opacity=0.55)
        canvas.line(side(trace("M 402 98 C 396 160 410 206 434 240")), 3, "#e95468", opacity=0.8)
        canvas.paint(side(oval(350, 250, 34, 40)), "#ee5a6c", clip=body, blur=18, opacity=0.45)
    neck = trace("M 240 88 C 248 140 264 176 300 176 C 336 176 352 140 360 88")
    canvas.line(neck, 6, "#9a1024", clip=body)
    canvas.line([(px, py + 7) for px, py in neck], 1, "#f08492", clip=body, dash=(4, 3))
    belt = mirrored(trace("M 300 338 L 389 334 C 387 346 388 358 391 370 L 300 374"))
    canvas.paint(belt, ("#3a1116", "#22090c"))
    canvas.line(trace("M 214 344 L 386 344"), 1.4, "#7d3a42", dash=(5, 4))
    canvas.line(block(278, 332, 44, 46, 6), 6, "#c9a24e")
    canvas.line(block(278, 331, 44, 46, 6), 2, "#f6e0a3")
    canvas.line([(300, 355), (326, 355)], 4, "#e2c069")
    canvas.line(trace("M 128 694 C 240 724 360 724 472 694"), 1, "#f08492", clip=body, dash=(4, 3))
    canvas.grain(body, 4, seed=4)
    return canvas


def shoe() -> Canvas:
    """A white sports shoe, seen from its side, the toe to the right and down."""
    canvas = Canvas(turn=13)
    upper = trace(
        "M 76 322 C 66 372 66 430 74 508 L 548 508 C 566 450 530 428 480 416 C 432 406 400 380 366 340 "
        "L 336 292 C 324 278 300 284 292 302 C 276 338 246 356 208 352 C 168 348 142 326 128 306 "
        "C 112 290 82 296 76 322 Z"
    )
    sole = trace(
        "M 62 476 C 130 500 250 508 340 500 C 430 494 500 494 546 474 C 570 464 584 484 576 508 C 566 538 520 550 "
        "420 550 L 150 556 C 100 558 66 546 60 520 C 56 502 56 488 62 476 Z"
    )
    tread = trace(
        "M 62 528 C 90 552 120 553 150 552 L 420 546 C 480 546 536 540 566 516 C 564 540 540 558 500 562 "
        "L 140 570 C 96 570 66 556 62 528 Z"
    )
    canvas.paint(oval(310, 570, 262, 12), "#6d7178", blur=10, opacity=0.5)
    canvas.paint(
        trace("M 292 302 C 270 344 240 358 208 354 C 168 350 140 326 126 304 C 176 290 246 288 292 302 Z"), "#3b4049"
    )
    tongue = trace("M 286 318 C 288 288 310 262 336 266 C 352 270 362 300 372 330 L 352 362 Z")
    canvas.paint(tongue, ("#f4f5f7", "#cfd3d9"))
    canvas.line(tongue, 1.5, "#a6abb4")
    canvas.paint(upper, ("#fbfbfc", "#dfe2e7"))
    canvas.line(upper, 2, "#b4b8c0")
    canvas.line(trace("M 76 470 L 548 470"), 34, "#9aa0aa", clip=upper, blur=16, opacity=0.55)
    mesh = trace("M 262 384 C 300 376 340 366 374 360 C 402 392 440 416 486 430 L 470 466 L 236 466 Z")
    canvas.paint(mesh, "#eef0f3")
    canvas.dots(mesh, 7, 1.3, "#c3c8d0")
    heel = trace("M 70 360 C 110 352 138 372 150 410 C 158 446 150 480 144 496 L 74 496 Z")
    canvas.paint(heel, ("#2f4f9d", "#22397a"), clip=upper)
    canvas.line(heel[:57], 1.5, "#e7eaf1", clip=upper, dash=(5, 3))
    toe = trace("M 470 415 C 452 440 448 470 452 496 L 556 496 C 560 450 530 428 470 415 Z")
    canvas.paint(toe, ("#e6e8ec", "#cdd1d8"), clip=upper)
    canvas.line(trace("M 466 414 C 448 440 444 470 448 490"), 1.5, "#9da3ad", clip=upper, dash=(5, 3))
    for shift in (14, 66):
        stripe = trace(
            f"M {214 + shift} 366 L {234 + shift} {360 - shift * 0.02} L {196 + shift} 476 L {172 + shift} 476 Z"
        )
        canvas.paint(stripe, ("#3a5cb0", "#27427f"), clip=upper)
        canvas.line(stripe, 1, "#1c2f5f", clip=upper, opacity=0.6)
    stay = trace("M 288 330 C 300 350 330 352 352 344 C 380 380 408 402 440 416 L 424 430 C 380 416 340 396 300 366 Z")
    canvas.paint(stay, ("#f7f8fa", "#d9dde3"))
    canvas.line(stay, 1.5, "#a9afb9")
    for step in range(5):
        x, y = 304 + step * 25, 348 + step * 15
        lace = trace(f"M {x - 6} {y + 10} C {x + 6} {y - 14} {x + 22} {y - 32} {x + 42} {y - 36}")
        canvas.line([(px + 2, py + 4) for px, py in lace], 9, "#7f858f", blur=3, opacity=0.55)
        canvas.line(lace, 9, "#c9cdd5")
        canvas.line(lace, 6.5, "#ffffff")
        canvas.paint(oval(x - 6, y + 11, 4), "#8b919b")
    canvas.line(
        trace("M 84 330 C 90 300 112 294 126 308 C 142 330 168 350 208 354 C 246 358 276 340 292 304"), 11, "#dfe3e9"
    )
    canvas.line(trace("M 86 326 C 92 302 112 296 126 310 C 142 332 168 352 208 356"), 2, "#aab0ba", opacity=0.8)
    canvas.paint(sole, ("#ffffff", "#d4d8de"))
    canvas.line(sole, 2, "#a7adb6")
    canvas.line(trace("M 64 494 C 140 516 250 522 340 515 C 430 508 506 508 572 482"), 2, "#b8bdc6")
    canvas.paint(trace("M 76 520 C 130 538 200 540 250 536 L 240 524 C 180 528 120 522 78 508 Z"), "#2f4f9d", clip=sole)
    canvas.paint(tread, "#2b2f37")
    for x in range(96, 560, 16):
        canvas.line([(x, 572), (x + 4, 556)], 3, "#5b616c", clip=tread)
    return canvas
