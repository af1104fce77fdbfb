"""A nano model that also finds what a phrase says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgvos.models.interface import (
    ABSENT_LOGIT,
    ImageFeatures,
    MaskPrediction,
    PromptBatch,
    TextFeatures,
)
from surgvos.models.nano.config import NanoConfig
from surgvos.models.nano.layers import upsample_to
from surgvos.models.nano.matcher import NUM_PARTS, Matches, PhraseMatcher
from surgvos.models.nano.model import NanoModel
from surgvos.models.nano.objects import ObjectFinder, ObjectFinderConfig, ObjectMaps, Proposals, propose
from surgvos.models.nano.pointing import point_at
from surgvos.models.nano.refining import most_alike
from surgvos.models.nano.text import PhraseEncoder


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferringNanoConfig(NanoConfig):
    """Shape of a `ReferringNano`: that of a `NanoModel`, and of what reads phrases.

    Attributes:
        context_width: Channels at stride 32 of what finds the objects that phrases choose from; its trunk is shaped as
            that of the tracker.
        context_depth: Residual blocks there.
        place_width: Channels in which a place says what it is part of.
        mask_width: Channels of what outlines are made from.
        name_width: Channels in which places are compared with names.
        max_objects: Most objects that are told apart in an image.
        text_width: Channels of words, and of objects where they meet words.
        num_buckets: Of runs of letters.
        max_words: Longest phrase.
        text_depth: Layers in which words attend to each other.
        joint_depth: Layers in which words and objects attend to each other.
    """

    context_width: int = 160
    context_depth: int = 1
    place_width: int = 96
    mask_width: int = 64
    name_width: int = 64
    max_objects: int = 30
    text_width: int = 96
    num_buckets: int = 2048
    max_words: int = 32
    text_depth: int = 1
    joint_depth: int = 3

    @property
    def finder(self) -> ObjectFinderConfig:
        """Of what finds objects."""
        return ObjectFinderConfig(**{field.name: getattr(self, field.name) for field in fields(ObjectFinderConfig)})


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Phrases beside the objects of their images.

    Attributes:
        proposals: Of ``N`` images.
        parts: ``(N, 3, h, w)`` logits of tips, wrists and shafts, on the grid of the proposals.
        matches: Of ``B`` phrases.
    """

    proposals: Proposals
    parts: Tensor
    matches: Matches

    def candidates(self, image: Tensor, candidate: Tensor) -> Tensor:
        """Mask logits ``(B, h, w)`` of a candidate of each phrase, by its place in `Matches.logits`.

        Args:
            image: int64 ``(B,)``, of which image.
            candidate: int64 ``(B,)``.
        """
        number, part = candidate // NUM_PARTS, candidate % NUM_PARTS
        whole = self.proposals.outlines[image, number]
        of_part = self.parts[image, (part - 1).clamp(min=0)]
        # A part of an object is where the object is and the part is.
        return torch.where((part == 0)[:, None, None], whole, torch.minimum(whole, of_part))


class ReferringNano(NanoModel):
    """A `ReferringModel` for CPUs: a `NanoModel`, whose own weights it leaves as they are, and a reader of phrases.

    All objects of an image are found at once, whatever is asked; phrases then choose from them.
    """

    config: ReferringNanoConfig
    num_previous = 1
    credible = (0.5, 0.5)

    def __init__(self, config: ReferringNanoConfig | None = None) -> None:
        config = config or ReferringNanoConfig()
        super().__init__(config)
        self.object_finder = ObjectFinder(config.finder)
        self.phrase_encoder = PhraseEncoder(config.text_width, config.num_buckets, config.max_words, config.text_depth)
        self.phrase_name = nn.Linear(config.text_width, config.finder.name_width)
        self.phrase_sharpness = nn.Parameter(torch.tensor(2.5))
        self.phrase_matcher = PhraseMatcher(config.finder, config.text_width, config.joint_depth)

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """Encode images; see `NanoModel`. What finds objects looks at them for itself."""
        return replace(super().encode_image(images), pixels=images)

    def encode_text(self, phrases: Sequence[str]) -> TextFeatures:
        """Encode phrases; see `ReferringModel`."""
        return self.phrase_encoder(phrases)

    def name_logits(self, maps: ObjectMaps, names: Sequence[str]) -> Tensor:
        """Which of ``B`` names is that of what each place of ``N`` images lies on: ``(N, B, h, w)``.

        Places and names are compared in one space (Radford et al., CLIP, ICML 2021, for places instead of images).
        """
        meant = F.normalize(self.phrase_name(self.encode_text(names).pooled), dim=1) * self.phrase_sharpness.exp()
        return torch.einsum("nchw,bc->nbhw", maps.names, meant.to(maps.names.dtype))

    def compare(self, images: Tensor, before: Tensor | None, text: TextFeatures) -> Compared:
        """Find the objects of normalised images ``(N, 3, H, W)``, and compare them with ``B`` phrases.

        Args:
            images: The images.
            before: The frames before them; None where there are none.
            text: The phrases, and of which images they speak.
        """
        maps = self.object_finder(images)
        return self._compare(maps, propose(maps, self.config.max_objects), images, before, text)

    def _compare(
        self, maps: ObjectMaps, proposals: Proposals, images: Tensor, before: Tensor | None, text: TextFeatures
    ) -> Compared:
        seen_before = None if before is None else self.object_finder.look_briefly(before)
        objects = self.phrase_matcher.describe(maps, proposals, images, seen_before)
        return Compared(proposals, maps.parts, self.phrase_matcher(objects, proposals.is_object, text))

    def refer(self, features: ImageFeatures, previous: Sequence[ImageFeatures], text: TextFeatures) -> MaskPrediction:
        """Look for phrases in one image, beside the one before it; see `ReferringModel`.

        Presence is the probability that what a phrase means is visible and is what is outlined.
        """
        assert features.pixels is not None
        before = previous[0].pixels if previous else None
        compared = self._compare(self._maps(features), self._proposals(features), features.pixels, before, text)
        matches, num_phrases = compared.matches, len(text.pooled)
        device = matches.logits.device
        image = torch.arange(num_phrases, device=device) % features.num_images if text.image is None else text.image
        chosen = matches.chosen
        iou, presence = (of_each.gather(1, chosen[:, None] // NUM_PARTS) for of_each in (matches.iou, matches.trust))
        outlines = upsample_to(compared.candidates(image, chosen)[:, None], features.levels[0])
        if not self.training:
            outlines = torch.where(presence[:, :, None, None] > 0, outlines, ABSENT_LOGIT)
        return MaskPrediction(outlines, iou.sigmoid(), presence[:, 0])

    def _maps(self, features: ImageFeatures) -> ObjectMaps:
        """What the places of an image say, asked once for all who want to know."""
        if "objects" not in features.derived:
            features.derived["objects"] = self.object_finder(features.pixels)
        maps: ObjectMaps = features.derived["objects"]
        return maps

    def _proposals(self, features: ImageFeatures) -> Proposals:
        """The objects of an image, put together once."""
        if "proposals" not in features.derived:
            features.derived["proposals"] = propose(self._maps(features), self.config.max_objects)
        proposals: Proposals = features.derived["proposals"]
        return proposals

    def decode(
        self, features: ImageFeatures, conditioned: Tensor, prompts: PromptBatch | None, *, multimask: bool
    ) -> MaskPrediction:
        """Predict masks. Boxes also ask which of all objects of the image they enclose."""
        # Following keeps no phrase in mind, so one alone is no prompt.
        if prompts is not None and prompts.mask is None and prompts.num_points == 0:
            prompts = None
        prediction = super().decode(features, conditioned, prompts, multimask=multimask)
        if prompts is None or prompts.mask is not None or self.training or not prompts.has_box:
            return prediction
        return self._with_pointed(prediction, features, prompts)

    def _with_pointed(
        self, prediction: MaskPrediction, features: ImageFeatures, prompts: PromptBatch
    ) -> MaskPrediction:
        """Two opinions, each by how sure it is: what was drawn from prompts, and the object that their box encloses."""
        assert features.pixels is not None
        proposals = self._proposals(features)
        image = torch.arange(len(prompts.labels), device=prompts.labels.device) % features.num_images
        stride = features.pixels.shape[-1] / proposals.outlines.shape[-1]
        pointed = point_at(proposals, prompts, image, stride)
        presence, iou = prediction.presence_logits, prediction.iou[:, 0]
        share = _share(pointed.worth, iou * (presence > 0))
        there = torch.maximum(presence, pointed.quality.logit(1e-4))
        return replace(
            prediction,
            logits=_mixed(share, pointed.outlines, prediction.logits),
            iou=((1 - share) * iou + share * pointed.quality)[:, None],
            presence_logits=torch.where(share > 0.5, there, presence),
        )

    def refine(self, features: ImageFeatures, followed: MaskPrediction) -> MaskPrediction:
        """Two opinions, each by how sure it is: what memory says, and the object of the image that is most like it.

        See `RefiningModel`.
        """
        maps = self._maps(features)
        masks = F.avg_pool2d(followed.logits, followed.logits.shape[-1] // maps.quality.shape[-1])[:, 0] > 0
        parts = [most_alike(maps, n, masks[n :: features.num_images]) for n in range(features.num_images)]
        outlines, worth = (torch.cat([getattr(part, name) for part in parts]) for name in ("outlines", "worth"))
        share = _share(worth, followed.iou[:, 0]) * (followed.presence_logits > 0)
        return replace(followed, logits=_mixed(share, outlines, followed.logits))


def _share(one: Tensor, other: Tensor) -> Tensor:
    """What the first of two opinions has to say, in 0..1: ``(B,)``.

    Squares, so that of two that differ the surer one prevails.
    """
    return one.square() / (one.square() + other.square()).clamp(min=1e-6)


def _mixed(share: Tensor, outlines: Tensor, logits: Tensor) -> Tensor:
    """Put outlines at stride 4 in for their share of mask logits ``(B, 1, h, w)`` at stride 2."""
    return torch.lerp(logits, upsample_to(outlines, logits).to(logits.dtype), share[:, None, None, None])
