"""Sample the text corpus of the labs from the embedded model; a killed run goes on where it was.

    python -m scripts.sample_corpus --tokens 2100000    # hours on a CPU; the texts collect in outputs/corpus
    python -m scripts.sample_corpus --finish            # packs what is there into data/corpus.jsonl.xz

A text starts with a short opening, whose gaps are filled at random, and goes on for NEW_TOKENS sampled tokens. No chat
template, no BOS, no special tokens, no trimming: a text stops in the middle of a sentence. The number of a batch is the
seed of its openings and of its sampling, so that it is the same batch whenever it is made, on the same machine with the
same number of threads.
"""

import argparse
import gzip
import hashlib
import json
import lzma
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache, DynamicLayer

from scripts.interp.base.errors import ModelUnavailable
from scripts.interp.base.files import write_atomically
from scripts.interp.base.paths import outputs_folder
from scripts.interp.base.quiet import quiet_libraries
from scripts.interp.models.embedded import LICENCE, SOURCE, prepare_embedded_model
from scripts.interp.text.corpus import CORPUS_FILE, Document, documents_as_bytes, read_documents, token_ids

NEW_TOKENS = 256  # a text
TEMPERATURE = 0.9
TOP_K = 60
BATCH_SIZE = 96  # the fastest of 48, 96 and 192 with one thread
HEAD_START = "head-start.jsonl.gz"  # in the work folder, if another run's samples were taken over


def _items(text: str) -> list[str]:
    """The parts of a text between commas."""
    return [" ".join(item.split()) for item in text.split(",")]


# The gaps of an opening. {name} and {name2} are two different names; {Topic} and {TOPIC} are a topic in capitals.
FILLERS = {
    "name": _items("""
        Alice, Anna, Ben, Carlos, Chen, Clara, Daniel, David, Diego, Elena, Emily, Emma, Eric, Fatima, Felix,
        George, Grace, Hannah, Henry, Hugo, Ibrahim, Ingrid, Isabel, Ivan, Jack, James, Jane, John, Julia, Kate,
        Kofi, Laura, Leila, Leo, Lucy, Marco, Maria, Mark, Martin, Mary, Maya, Michael, Mina, Nadia, Noah, Nora,
        Olga, Oliver, Omar, Oscar, Paul, Peter, Priya, Rachel, Ravi, Robert, Rosa, Ruth, Sam, Sara, Simon,
        Sofia, Susan, Thomas, Tom, Victor, Walter, William, Yuki, Yusuf, Zoe
    """),
    "surname": _items("""
        Adams, Baker, Bennett, Brown, Carter, Clarke, Collins, Cooper, Cruz, Davies, Diaz, Edwards, Evans,
        Fischer, Foster, Garcia, Gupta, Hall, Harris, Hughes, Jackson, Johnson, Kim, Kumar, Lee, Lopez,
        Martinez, Miller, Moore, Murphy, Nguyen, Novak, Okafor, Patel, Petrov, Reed, Rivera, Roberts, Rossi,
        Schmidt, Silva, Singh, Smith, Suzuki, Taylor, Turner, Walker, Weber, White, Young
    """),
    "place": _items("""
        Amsterdam, Athens, Bangkok, Barcelona, Berlin, Boston, Brazil, Buenos Aires, Cairo, California, Canada,
        Cape Town, Chicago, Chile, China, Copenhagen, Cuba, Delhi, Dublin, Edinburgh, Egypt, Ethiopia, Finland,
        Florence, France, Geneva, Germany, Ghana, Greece, Hawaii, Hong Kong, Iceland, India, Indonesia, Ireland,
        Istanbul, Italy, Jamaica, Japan, Kenya, Lisbon, London, Los Angeles, Madrid, Mexico, Montreal, Morocco,
        Moscow, Mumbai, Nairobi, Nepal, New York, New Zealand, Nigeria, Norway, Oslo, Paris, Peru, Poland,
        Portugal, Prague, Quebec, Rome, San Francisco, Scotland, Seattle, Seoul, Singapore, South Africa, Spain,
        Stockholm, Sweden, Sydney, Texas, Tokyo, Toronto, Turkey, Venice, Vienna, Vietnam, Warsaw, Zurich
    """),
    "spot": _items("""
        airport, bakery, bank, barn, beach, bridge, bus stop, café, castle, cathedral, cellar, church, cinema,
        classroom, clinic, courthouse, desert, farm, factory, fire station, forest, garage, garden, gym,
        harbour, hospital, hotel, kitchen, laboratory, lake, library, lighthouse, market, meadow, mine,
        mountain, museum, park, pharmacy, playground, post office, prison, pub, restaurant, river, school, shop,
        square, stadium, store, swamp, swimming pool, temple, theatre, tower, town hall, train station, valley,
        village, waterfall, workshop, zoo
    """),
    "topic": _items("""
        algebra, ancient ruins, artificial intelligence, astronomy, ballet, bees, bicycles, birds, black holes,
        bread, bridges, butterflies, carpentry, cats, chemistry, chess, chocolate, cinema, climate change,
        clocks, coffee, comets, computers, cooking, coral reefs, cricket, dance, democracy, deserts, dinosaurs,
        dogs, dolphins, dreams, earthquakes, economics, education, electricity, elephants, farming, fashion,
        fishing, folk music, football, fossils, friendship, galaxies, gardening, genetics, geometry, glaciers,
        gold mining, grammar, gravity, handwriting, honesty, horses, hospitals, human rights, hurricanes,
        insects, insurance, jazz, journalism, justice, knitting, languages, lightning, literature, magnetism,
        maps, marine biology, medicine, memory, meteorology, money, mountains, mushrooms, music, mythology,
        navigation, nuclear power, nutrition, oceans, opera, owls, painting, parenting, penguins, philosophy,
        photography, physics, pirates, planets, poetry, pollution, printing, psychology, public transport,
        railways, rain forests, recycling, refugees, robots, rockets, sailing, salt, school uniforms, sculpture,
        sharks, silk, sleep, snow, social media, software, soil, solar energy, space travel, spiders,
        statistics, steam engines, swimming, taxes, tea, television, tennis, the Internet, the Moon, theatre,
        tides, time travel, tourism, traffic, translation, trees, vaccines, video games, virtual reality,
        volcanoes, voting, war, water, whales, wheat, wine, winter sports, wolves, writing, yoga
    """),
    "thing": _items("""
        backpack, ball, basket, bell, blanket, book, bottle, bowl, box, broken clock, bucket, button, camera,
        candle, carpet, chair, coat, coin, compass, cup, desk, diary, doll, drum, fan, feather, flag, flute,
        gift, glove, guitar, hammer, hat, helmet, jacket, jar, kettle, key, kite, knife, ladder, lamp, lantern,
        laptop, letter, lock, magnet, map, mask, medal, microscope, mirror, necklace, newspaper, notebook,
        painting, pen, pencil, phone, photograph, piano, pillow, pocket watch, postcard, radio,
        ring, robot, rope, ruler, sandwich, scarf, shell, shoe, silver spoon, stone, suitcase, sword, table,
        teapot, telescope, ticket, toolbox, torch, toy train, trumpet, vase, violin, wallet, wheel, whistle,
        wooden box
    """),
    "animal": _items("""
        badger, bear, beaver, bee, bird, butterfly, camel, cat, chicken, cow, crab, crocodile, crow, deer, dog,
        dolphin, donkey, dragon, duck, falcon, fish, fox, frog, giraffe, goat, goose, hare, hedgehog, horse,
        kangaroo, lion, lizard, monkey, mouse, parrot, penguin, pig, rabbit, rat, raven, seal, shark, sheep,
        snail, snake, sparrow, spider, squirrel, swan, tiger, toad, turtle, whale, wolf, zebra
    """),
    "food": _items("""
        almond, apple, avocado, bacon, banana, barley, bean, beef, beetroot, blueberry, broccoli, cabbage,
        caramel, carrot, cauliflower, cheese, cherry, chicken, chickpea, chilli, chocolate, cinnamon, coconut,
        corn, cucumber, duck, egg, fennel, fig, garlic, ginger, goat cheese, grape, ham, hazelnut, honey, kale,
        lamb, leek, lemon, lentil, lime, mango, maple syrup, mint, mushroom, mussel, mustard, noodle, oat,
        olive, onion, orange, parsley, pasta, pea, peach, peanut, pear, pepper, pineapple, plum, pork, potato,
        prawn, pumpkin, quinoa, radish, raisin, raspberry, rhubarb, rice, saffron, salmon, sausage, sesame,
        spinach, strawberry, sweet potato, tofu, tomato, trout, tuna, turkey, vanilla, walnut, yoghurt
    """),
    "dish": _items("""
        bake, biscuits, bread, burger, cake, casserole, chowder, cookies, curry, dumplings, gratin, jam,
        lasagne, muffins, pancakes, pasta, pie, pizza, porridge, pudding, risotto, salad, sandwich, sauce,
        skewers, smoothie, soup, stew, stir-fry, tacos, tart
    """),
    "job": _items("""
        baker, banker, barber, bus driver, butcher, carpenter, chef, cleaner, clerk, coach, dancer, dentist,
        detective, doctor, driver, fisherman, gardener, goldsmith, hunter, judge, king, knight, lawyer,
        librarian, mayor, mechanic, merchant, miner, minister, monk, musician, nurse, painter, pharmacist,
        pilot, plumber, poet, police officer, postman, priest, prince, princess, professor, queen, sailor,
        scientist, secretary, shepherd, soldier, spy, student, surgeon, tailor, teacher, thief, translator,
        waiter, weaver, witch, wizard, writer
    """),
    "adjective": _items("""
        bitter, bold, brave, bright, broken, busy, calm, careful, cheap, clever, cold, common, crowded, curious,
        dangerous, dark, deep, delicate, dry, dull, dusty, famous, fast, foggy, foolish, forgotten, friendly,
        gentle, golden, grand, green, happy, heavy, hidden, hollow, huge, hungry, kind, large, late, lazy,
        little, lonely, long, lost, loud, lucky, mysterious, narrow, new, noisy, patient, peaceful, poor, proud,
        quick, quiet, rainy, rare, red, rich, rough, rusty, sad, secret, sharp, shy, silent, simple, slow,
        small, soft, strange, strong, stubborn, sudden, sweet, tall, tiny, tired, warm, wet, wild, wise, wooden,
        young
    """),
    "activity": _items("""
        baking bread, building a boat, camping, climbing, collecting stamps, counting the stars, dancing,
        digging a well, drawing maps, driving at night, fishing, fixing an old car, flying a kite, gardening,
        hiking, hunting for mushrooms, juggling, keeping bees, knitting, learning Spanish, making cheese,
        meditating, moving house, painting the fence, planning a wedding, playing chess, playing the piano,
        reading in bed, repairing clocks, riding a bicycle, rowing, running a marathon, sailing, saving money,
        sewing, singing in a choir, skiing, sleeping outdoors, speaking in public, studying at night, swimming,
        teaching children, training a dog, travelling alone, walking to work, watching birds, working from home,
        writing letters
    """),
    "quality": _items("""
        ambition, beauty, boredom, courage, curiosity, discipline, doubt, fear, forgiveness, freedom,
        friendship, generosity, gratitude, grief, happiness, honesty, hope, humility, jealousy, joy, kindness,
        loneliness, love, loyalty, luck, patience, peace, pride, regret, respect, sadness, silence, sorrow,
        trust, truth, wisdom, wonder
    """),
    "condition": _items("""
        a bad cough, a broken arm, a cold, a concussion, a fever, a sore throat, acne, allergies, anaemia,
        anxiety, arthritis, asthma, back pain, bronchitis, burns, chest pain, chronic fatigue, dehydration,
        depression, diabetes, dizziness, eczema, food poisoning, hay fever, headaches, heart disease, high blood
        pressure, indigestion, influenza, insomnia, joint pain, kidney stones, malaria, measles, migraine,
        muscle cramps, nausea, obesity, pneumonia, sleep apnoea, stress, stroke, sunburn, tooth decay,
        tuberculosis, vitamin deficiency
    """),
    "event": _items("""
        the American Civil War, the Black Death, the Boer War, the building of the Suez Canal, the Cold War, the
        Congress of Vienna, the Crimean War, the Crusades, the discovery of penicillin, the eruption of
        Vesuvius, the fall of Constantinople, the fall of the Berlin Wall, the fall of Rome, the First World
        War, the French Revolution, the Glorious Revolution, the gold rush, the Great Depression, the Great Fire
        of London, the Hundred Years' War, the Industrial Revolution, the invention of printing, the Irish
        famine, the Korean War, the Meiji Restoration, the Moon landing, the Norman conquest, the Opium Wars,
        the partition of India, the Peloponnesian War, the Punic Wars, the Reformation, the Renaissance, the
        Russian Revolution, the Second World War, the Spanish Civil War, the Thirty Years' War, the Treaty of
        Versailles, the unification of Germany, the voyages of Columbus, the Wars of the Roses
    """),
    "noun": _items("""
        account, address, article, balance, book, buffer, cache, car, cell, city, client, color, column,
        counter, customer, date, device, document, edge, email, entry, event, field, file, filter, folder,
        frame, game, graph, group, image, invoice, item, job, key, label, letter, line, list, lock, log, matrix,
        message, model, month, name, node, note, number, order, packet, page, path, pixel, player, point, price,
        product, project, query, queue, record, report, request, response, row, score, screen, sensor, server,
        session, shape, signal, song, stack, state, stock, string, student, table, task, team, ticket, timer,
        token, tree, user, value, vector, vote, week, word, worker, year
    """),
    "verb": _items("""
        add, apply, build, check, clean, clear, close, collect, compare, compute, convert, copy, count, create,
        decode, delete, draw, encode, export, fetch, filter, find, format, get, group, hash, import, insert,
        load, lookup, map, merge, move, normalize, open, parse, plot, print, process, read, remove, rename,
        render, replace, reset, resize, reverse, rotate, save, scale, scan, search, select, send, set, sort,
        split, store, sum, swap, sync, test, trim, update, upload, validate, write
    """),
    "month": _items("""
        January, February, March, April, May, June, July, August, September, October, November, December
    """),
    "weekday": _items("""
        Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday
    """),
    "year": [str(year) for year in range(1605, 2024, 3)],
    "n": [str(n) for n in range(2, 60)],
}

# Short beginnings, so that the model and not this file writes the text.
OPENINGS = {
    "story": [
        "Once upon a time, a {adjective} {animal} lived near the {spot} of {place}.",
        "It was a {adjective} morning when {name} and {name2} arrived at the {spot}.",
        "{name} had never seen a {adjective} {thing} before.",
        "The {job} of {place} kept a {thing} that nobody was allowed to touch.",
        '"Don\'t open the {thing}," said the {job}, but {name} was already',
        "In the {adjective} {spot}, behind the {thing}, {name} found",
        "Every {weekday} {name} walked from the {spot} to the {spot2} with a {adjective} {thing}.",
        "Nobody in {place} believed the {adjective} {job} when he spoke of the {animal}.",
        "Chapter {n}\n\n{name} {surname} woke up in the {spot} and",
        "There was once a {job} who had {n} {animal}s and one {adjective} {thing}.",
        "The last train to {place} had left. {name} sat down beside a {adjective} {job} and",
        "My grandmother used to tell a story about {quality} and a {adjective} {animal}.",
        "The {animal} looked at the {thing} and wondered",
        "When the {job} died in the winter of {year}, {name} inherited the {spot} and",
    ],
    "dialogue": [
        '"What do you know about {topic}?" asked {name}.\n\n"Not much," said {name2},',
        '"Have you ever been to {place}?" {name} asked the {job}.',
        "{name}: I can't find my {thing}.\n{name2}:",
        "{name}: Do you like {activity}?\n{name2}: I",
        "Interviewer: You wrote a book about {topic}. Why?\n{surname}:",
        '"{name}, where did you put the {adjective} {thing}?"\n\n"In the {spot},',
        'The {job} turned to {name}. "Tell me about {place}," she said.',
        "Customer: I would like to return this {thing}.\nShop assistant:",
        "Teacher: Who can tell me something about {event}?\n{name}:",
        "Doctor: What brings you here today?\nPatient: I have {condition} and",
        '"I don\'t believe in {quality}," said the {animal}.\n"Why not?" asked the {animal2}.',
        "{name}: Let's meet at the {spot} on {weekday}.\n{name2}: I can't, because",
        '"How much is the {thing}?" asked the {job}.\n\n"{n} dollars," said {name}. "But',
        "[The {spot}. {name} and a {job} are sitting at a table.]\n\nThe {job}:",
    ],
    "encyclopedia": [
        "{Topic} in {place}: history and present. The first",
        "The {adjective} {animal} is a species of",
        "{name} {surname} (born {year}) was a {job} from {place} who",
        "{surname} {place} is a company founded in {year} that makes",
        "The {surname} {spot} is a building in {place}. It was built in {year} by",
        "The history of {topic} begins in",
        "{surname}'s law, in the study of {topic}, states that",
        "A {thing} is an object that is used to",
        "{Event} was",
        "The University of {place} is known for its research on {topic}. It",
        "The {surname} family of {place} were {job}s who, in the year {year},",
        "Lake {surname} lies in the north of {place}. Its",
        "The {food} is a plant whose fruit or seeds are",
        "{Quality} is a concept in philosophy. According to {surname},",
    ],
    "news": [
        "BREAKING: {Place} bans {topic} after",
        "{PLACE}, {month} {n2} - The {job} who stole a {thing} from the {spot}",
        "According to a new report on {topic} in {place},",
        "Police in {place} are looking for a {job} who",
        "Scientists at the University of {place} said on {weekday} that {topic}",
        "{name} {surname} wins the {place} prize for {topic}",
        "The mayor of {place}, {name} {surname}, announced on {weekday}",
        "Prices of {food} rise in {place} as",
        "A {adjective} {animal} that escaped from a {spot} in {place}",
        "Residents near the {spot} complained about {topic}, and",
        "Sports: {place} beat {place2} {n} to {n2} on {weekday}, when",
        "More than {n} people were injured near the {spot} in {place} when",
        "Stock markets fell on {weekday} after the minister of {topic}",
        "Opinion: why {place} needs more {topic}. By {name} {surname}.",
    ],
    "python": [
        'def {verb}_{noun}({noun2}):\n    """',
        "import os\nimport sys\n\n\ndef {verb}_{noun}s(path):\n",
        "class {Noun}{Noun2}:\n    def __init__(self, {noun}, {noun2}):\n",
        "import numpy as np\n\n# {verb} the {noun} of each {noun2}\n",
        "for {noun} in {noun}s:\n    if {noun}.{noun2} >",
        "def test_{verb}_{noun}():\n    {noun2} =",
        "from collections import defaultdict\n\n{noun}s = defaultdict(list)\n",
        '@app.route("/{noun}s/<int:{noun2}_id>")\ndef {verb}_{noun}(',
        'import pandas as pd\n\ndf = pd.read_csv("{noun}s.csv")\ndf["{noun2}"]',
        "# How to {verb} a {noun} in Python\n\n```python\n",
        'with open("{noun}s.txt") as file:\n    {noun2}s = [',
        ">>> {noun}s = [{n}, {n2}]\n>>> {verb}({noun}s)\n",
        "class Test{Noun}(unittest.TestCase):\n    def test_{verb}(self):\n",
        'def {verb}({noun}s: list[int], {noun2}: int = {n}) -> bool:\n    """Return',
        "try:\n    {noun} = {verb}_{noun}({noun2})\nexcept ValueError as error:\n",
    ],
    "code": [
        "function {verb}{Noun}({noun2}) {{\n",
        "SELECT {noun}, {noun2} FROM {verb}_{noun}s WHERE",
        "#include <stdio.h>\n\nint {verb}_{noun}(int {noun2}) {{\n",
        "public class {Noun}{Noun2} {{\n    private final",
        "<html>\n<head>\n<title>{Topic}</title>\n</head>\n",
        'const {noun}s = await fetch("/api/{noun2}s")',
        "fn {verb}_{noun}({noun2}: &str) -> Option<",
        "#!/bin/bash\n# {verb} every {noun} in the {noun2} folder\n",
        "CREATE TABLE {noun}s (\n    id INTEGER PRIMARY KEY,\n    {noun2}",
        "func {Verb}{Noun}({noun2} int) error {{\n",
        '{{\n  "{noun}": "{surname}",\n  "{noun2}": {n},\n',
        ".{noun}-{noun2} {{\n  color:",
        "std::vector<int> {verb}_{noun}s(const std::string& {noun2}) {{\n",
        "interface {Noun} {{\n  {noun2}: string;\n",
        "services:\n  {noun}:\n    image: {noun2}-server\n",
        "## How to {verb} a {noun}\n\nRun the following command:\n\n```\n",
    ],
    "recipe": [
        "Ingredients:\n- 2 cups of {food}\n- 1 tablespoon of {food2}\n-",
        "{Food} and {food2} {dish}\n\nServes {n}.",
        "How to make {food} {dish}: first,",
        "My mother's {food} {dish} from {place} needs only",
        "Preheat the oven. Cut the {food} into pieces and mix it with the {food2}, then",
        "{Adjective} {food} {dish}\n\nPreparation: {n} minutes\nIngredients:",
        "For the {food} sauce, melt",
        "This {dish} from {place} is made with {food}, {food2} and",
        "Step 1: Wash the {food}.\nStep 2:",
        "You can replace the {food} with {food2} if",
        "A quick {dish} with {food} for {weekday} evening:",
        "Chef {surname} says that a good {food} {dish} begins with",
        "To store {food}, put it in a {thing} and",
        "{name}'s favourite {dish}: {food}, {food2},",
    ],
    "qa": [
        "Question: Why is {topic} important?\nAnswer:",
        "Q: How do I start {activity}?\nA:",
        "Question: What happened during {event}?\nAnswer:",
        "Q: What is the difference between {topic} and {topic2}?\nA:",
        "Is it safe to keep a {animal} at home?\n\nThe answer",
        "Question: Where can I buy a {adjective} {thing} in {place}?\nAnswer:",
        "What do {job}s do all day?\n\n",
        "Question: Who invented the {thing}?\nAnswer:",
        "FAQ about {topic}\n\nHow long does",
        "Why do {animal}s sleep during the day? One",
        "Asked by {name} from {place}: Can I eat {food} every day?\n\nDear {name},",
        "Which is better, {food} or {food2}?\n\n",
        "Multiple choice: Which of these belongs to {topic}?\nA)",
        "Quiz, question {n}: In which year did {event}",
        "How many {animal}s live in {place}?",
    ],
    "science": [
        "In this experiment, we measured {topic} with a {thing} and",
        "Researchers in {place} have found that {topic}",
        "Abstract. We study the effect of {topic} on {topic2}. Our results",
        "The {animal} has a {adjective} tail, which it uses to",
        "The theory of {topic} explains why",
        "Figure {n}: The relation between {topic} and {quality}. The",
        "When light hits a {adjective} {thing},",
        "Hypothesis: people who eat {food} are more likely to",
        "We collected {n} samples from the {spot} near {place} and",
        "The cells of a {animal} differ from those of a {animal2} in",
        "In {year}, {surname} discovered that",
        "A common misconception about {topic} is",
        "The mass of the {thing} is {n} kilograms, so its",
        "Conclusion: the evidence from {place} suggests that {topic}",
        "Method. {n} {job}s took part in a study of {quality}.",
    ],
    "letter": [
        "Dear {name},\n\nI am writing to you about {topic}.",
        "Dear Sir or Madam,\n\nWith regard to the {adjective} {thing} that I bought in {place},",
        "My dearest {name},\n\nIt has been {n} days since you left for {place},",
        "{Place}, {month} {year}\n\nDear {name},\n\n",
        "Dear Mr {surname},\n\nThank you for your letter of {month} {n}.",
        "Dear {name},\n\nPlease forgive me for losing your {thing}.",
        "Dear editor,\n\nYour article on {topic} was",
        "Dear Professor {surname},\n\nI would like to apply for",
        "To the owner of the {spot} in {place}:\n\n",
        "Dear grandma,\n\nThank you for the {adjective} {thing}. I",
        "Dear Ms {surname},\n\nWe regret to inform you that your {thing}",
        "Dear neighbours,\n\nOn {weekday} our {animal}",
        "Dear diary,\n\nToday I went to the {spot} with {name} and",
        "Dear {name},\n\nYou asked me about {quality}. I think",
    ],
    "legal": [
        "This Agreement is made on {month} {n}, {year} between {name} {surname} and the City of {place}",
        "Section {n}. Definitions. In this Act, {topic} means",
        "The court held that the {job} was not liable for the {thing}, because",
        "Article {n}. Every {job} shall have the right to",
        "The tenant shall not keep a {animal} in the {spot} without",
        "{surname} v. {surname2}, {year}. The plaintiff, a {job} from {place},",
        "Terms of service\n\n1. By using our {noun}, you agree",
        "I, {name} {surname}, hereby leave my {thing} to",
        "The seller warrants that the {thing}",
        "Privacy policy: we collect your {noun} and {noun2} in order to",
        "The witness, a {job}, stated that on {weekday} she saw a {thing} in",
        "WHEREAS the parties wish to cooperate in the field of {topic},",
        "The licence for {topic} may be withdrawn if",
        "It is forbidden to carry a {thing} in any {spot} of {place}, unless",
        "The employee, a {job}, is entitled to {n} days of",
    ],
    "math": [
        "Problem: {name} has {n} {food}s and gives {n2} of them to {name2}.",
        "Theorem {n}. Let n be a positive integer. Then",
        "Solve for x: {n}x + {n2} =",
        "A {adjective} rectangle has a width of {n} cm and a length of {n2} cm. Its area",
        "Proof. Suppose that the {noun} is not",
        "A train leaves {place} at {n} km/h, and another one leaves {place2} at",
        "What is {n} times {n2}? First,",
        "Exercise {n}. Find the probability that a {thing} drawn from",
        "The sum of {n} and {n2} is",
        "{name} is {n} years old. In {n2} years, {name2} will",
        "Definition. A {noun} is called {adjective} if",
        "A {thing} costs {n} dollars and a {thing2} costs {n2} dollars. How much",
        "Let f(x) = {n}x^2 - {n2}. The derivative",
        "If {n} {job}s can build a {spot} in {n2} days, then",
        "Convert {n} kilometres to",
    ],
    "list": [
        "Top 10 facts about {topic}:\n1.",
        "{n} things to do in {place}:\n1.",
        "Things to pack for {activity}:\n-",
        "Shopping list for {weekday}: {food}, {food2},",
        "Rules of the {spot}:\n1. No {thing}s.\n2.",
        "The best books about {topic}:\n\n*",
        "Words that describe a {adjective} {job}:",
        "Reasons to learn about {topic}:\n\n1.",
        "{name}'s to-do list for {month}:\n- buy a {thing}\n-",
        "Famous {job}s from {place}:\n\n1. {name} {surname},",
        "Five {adjective} animals: the {animal}, the {animal2},",
        "Advantages of {topic}:\n-",
        "Gifts for a {job}:\n1. a {thing}\n2.",
        "The contents of the {thing}: {n} {thing2}s,",
    ],
    "review": [
        "The movie about {topic} was",
        "The food at this restaurant in {place} was",
        "I bought this {thing} {n} weeks ago and",
        '"The {adjective} {job}" is the new novel by {name} {surname}. It',
        "{n2} out of 60 points. The {dish} with {food} tasted",
        "Product review: {adjective} {thing} by {surname}. Pros:",
        "We stayed at the {surname} Hotel in {place} for {n} nights and",
        "I was disappointed by the {spot} in {place}, because",
        "Do not buy this {thing}!",
        "The concert of {name} {surname} on {weekday} was",
        "As a {job}, I have used many {thing}s, but",
        "The documentary on {event} shows",
        "The new app for {activity} is",
        "The museum of {topic} in {place} is worth",
        "This album by the {adjective} {animal}s sounds",
    ],
    "history": [
        "During {event}, the people of {place}",
        "The king of {place} was",
        "In {year}, a {job} from {place} named {surname}",
        "{Event} began because",
        "The ancient people of {place} used the {thing} to",
        "Before {year}, there was no {spot} in {place}, and",
        "The causes of {event} are still",
        "{name} {surname}, the {adjective} {job} of {place}, was born in {year} and",
        "After {event}, trade in {food} and {food2}",
        "The first {spot} in {place} opened in {year}, when",
        "In the winter of {year}, the army of {place} marched",
        "Historians disagree about {topic} in the time of {event}.",
        "The treaty between {place} and {place2} was signed in",
        "For centuries, {job}s in {place} have",
        "The empire of {place} declined when",
    ],
    "instructions": [
        "How to take care of a {animal}\n\n1.",
        "To learn more about {topic}, first",
        "How to repair a {adjective} {thing}:\n\nStep 1.",
        "Before {activity}, make sure that",
        "Warning: never put a {thing} into",
        "Follow these steps to {verb} a {noun}:\n\n1.",
        "To get from the {spot} to the {spot2}, turn",
        "Assembly of the {thing}: take part A and",
        "How to become a {job} in {place}:",
        "If you are lost near the {spot} in {place},",
        "A beginner's guide to {activity}\n\nYou will need",
        "To clean a {thing}, use",
        "How to talk to your children about {topic}.",
        "Tips for {activity} in {month}:\n\n-",
        "In case of fire in the {spot},",
    ],
    "travel": [
        "We drove from {place} to {place2},",
        "The hotel was near the {spot}, and",
        "{Place} in {month} is",
        "Day {n}: we left the {spot} of {place} and",
        "The best time to visit {place} is",
        "If you like {activity}, go to {place}, where",
        "On our way to {place} we met a {adjective} {job} who",
        "The ferry from {place} to {place2} takes {n} hours and",
        "Hidden places in {place}: the {adjective} {spot}",
        "I lost my {thing} at the {spot} in {place}, so",
        "Street food in {place}: try the {food} {dish}, which",
        "Travelling to {place} with a {animal} is",
        "The {adjective} {spot} of {place} was built in {year} and attracts",
        "A weekend in {place}: on {weekday} morning,",
    ],
    "ioi": [
        "When {name} and {name2} went to the {spot}, {name} gave a {thing} to {name2}, and",
        "Then, {name} and {name2} had a long argument about {topic}, and afterwards {name} said to",
        "After {name} and {name2} found a {thing} in the {spot}, {name} handed it to",
        "While {name} and {name2} were {activity}, {name2} showed a {thing} to",
        "{name} and {name2} met at the {spot}. {name} lent {name2} a {thing}, and later {name2}",
        "When {name} got a {thing} from {name2} at the {spot}, {name} thanked",
        "{name} told {name2} a secret about {name}'s {job}. {name2} told",
        "Last {weekday}, {name} bought a {thing} for {name2}, but {name2}",
        "At the {spot}, {name2} waited for {name}. When {name} came,",
        "{name} wanted to visit {place} with {name2}, but {name2} told {name} that",
        "{name} threw the {thing} to {name2}. {name2} threw it back to",
        "Since {name} had forgotten the {food}, {name2} gave {name} some, and",
        "The {job} asked {name} and {name2} about the {thing}. {name} pointed at",
        "{name} sent a letter from {place} to {name2}. A week later {name2} answered",
    ],
    "poem": [
        "O {adjective} {thing},\n",
        "A poem about {topic}\n\n",
        "The {animal} sleeps in the {spot},\nthe {animal2}",
        "Roses are red,\n{food}s are {adjective},\n",
        "{Quality} is a {adjective} {thing}\n",
        "I walked alone through {place} in {month},\n",
        "Ode to {food}\n\n",
        "There was a {adjective} {job} of {place},\nWho",
        "In the {adjective} {spot} where the {animal} sings,\n",
        "{name}, do you remember the {spot},\nthe {adjective} {thing},",
        "Haiku: {topic}\n\n",
        "Farewell, {place}!\nYour {adjective} {spot}s",
        "My {quality} is like a {animal}\nthat",
        "Sleep, little {animal}, sleep,\nthe {job}",
    ],
    "speech": [
        "Ladies and gentlemen, today I want to talk about {topic}.",
        "My fellow citizens of {place},",
        "Dear graduates of {year}, {quality}",
        "When I was a young {job} in {place}, I believed",
        "Friends, we are gathered here because of {event}.",
        "Thank you, {name}. I have spent {n} years on {topic}, and",
        "Let us raise a glass to {name} and {name2}, who met at the {spot}",
        "As your {job}, I promise",
        "We must not forget {event}, for",
        "Some say that {topic} will destroy {place}. I say",
        "Mr President, the question of {topic} is",
        "There are {n} reasons why {quality} matters more than {quality2}.",
        "I have a dream that {place}",
        "Good evening, {place}! Tonight",
    ],
    "health": [
        "To stay healthy, eat {food} and",
        "The patient, a {n}-year-old {job} with {condition},",
        "The symptoms of {condition} are",
        "Doctors recommend {activity} to people with {condition}, because",
        "Is {food} good for {condition}?",
        "{Condition} can be treated with",
        "Eating too much {food} may cause",
        "{n} ways to prevent {condition}:\n1.",
        "After {n} days of {condition}, you should",
        "Mental health: how {activity} helps against {condition}.",
        "My {job} told me that {condition} comes from",
        "A study of {n} {job}s in {place} found that {condition}",
        "First aid for {condition}: keep",
        "{name} had suffered from {condition} since {year}. One day",
        "The vitamins in {food} and {food2} help",
    ],
    "email": [
        "Hi {name},\n\nThanks for the {thing}.",
        "Subject: {Topic} meeting on {weekday}\n\nHi {name},\n\n",
        "From: {name} {surname}\nTo: {name2} {surname2}\nSubject: The {noun} report\n\n",
        "Hello everyone,\n\nThe {spot} will be closed on {weekday} because",
        "Hi team,\n\nI could not {verb} the {noun} on {weekday}, so",
        "Dear customer,\n\nYour {thing} has been",
        "Hi {name}, are you still interested in {activity}?",
        "Subject: Lost {thing}\n\nDear all,\n\nI left my {adjective} {thing} in the {spot}",
        "Re: Trip to {place}\n\n{name} wrote:\n>",
        "Good morning {name},\n\nPlease find attached the {noun} for {month}.",
        "Subject: Invitation to a talk on {topic}\n\n",
        "Hi {name},\n\nMy {animal} ate your {thing}, and I",
        "Dear {surname} family,\n\nYour booking in {place} for {n} nights",
        "Subject: Re: {noun} {noun2}\n\nHi {name},\n\nsorry for the late reply.",
    ],
}


def random_opening(rng: random.Random) -> tuple[str, str]:
    """A genre and one of its openings, filled."""
    genre = rng.choice(list(OPENINGS))
    opening = rng.choice(OPENINGS[genre])
    words = {}
    for gap, fillers in FILLERS.items():
        for key, word in zip((gap, gap + "2"), rng.sample(fillers, 2)):
            words[key] = word
            words[key.capitalize()] = word[0].upper() + word[1:]
            words[key.upper()] = word.upper()
    return genre, opening.format(**words)


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer in memory that is set aside once: a third faster than appending copies them."""

    def __init__(self, length: int):
        super().__init__()
        self.length, self.used = length, 0

    def update(self, keys: Tensor, values: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
            batch, heads, _, d_head = keys.shape
            self.all_keys, self.all_values = keys.new_empty(2, batch, heads, self.length, d_head)
        end = self.used + keys.shape[2]
        self.all_keys[:, :, self.used : end], self.all_values[:, :, self.used : end] = keys, values
        self.used = end
        self.keys, self.values = self.all_keys[:, :, :end], self.all_values[:, :, :end]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return self.used


@torch.inference_mode()
def continue_prompts(
    model: PreTrainedModel,
    prompts: list[list[int]],
    n_new: int,
    choose: Callable[[Tensor], Tensor],
    after_token: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """Each prompt's token ids followed by `n_new` chosen ones.

    choose: logits [batch, d_vocab] to token ids [batch]

    Prompts of different lengths need no padding: all start together, and at a place where a row's prompt still goes
    on, the row gets the prompt's token and not the chosen one.
    """
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
    total = max(map(len, prompts)) + n_new
    tokens = torch.zeros(len(prompts), total, dtype=torch.long, device=model.device)
    for row, prompt in zip(tokens, prompts):
        row[: len(prompt)] = torch.tensor(prompt)
    cache = Cache(layers=[GrowingLayer(total) for _ in range(model.config.num_hidden_layers)])
    seen = 0
    for position in range(min(map(len, prompts)), total):
        logits = model(tokens[:, seen:position], past_key_values=cache, logits_to_keep=1).logits[:, -1]
        tokens[:, position] = torch.where(position < lengths, tokens[:, position], choose(logits))
        seen = position
        after_token()
    return [row[: len(prompt) + n_new] for row, prompt in zip(tokens.tolist(), prompts)]


def sampler(banned: list[int], seed: int, device: torch.device, top_k: int = TOP_K) -> Callable[[Tensor], Tensor]:
    """Draws from the `top_k` likeliest tokens that are not banned, at TEMPERATURE; `top_k` 1 is greedy."""
    generator = torch.Generator(device).manual_seed(seed)

    def choose(logits: Tensor) -> Tensor:
        logits[:, banned] = -torch.inf
        best, ids = logits.topk(top_k)
        drawn = torch.multinomial((best / TEMPERATURE).softmax(-1), 1, generator=generator)
        return ids.gather(1, drawn)[:, 0]

    return choose


def sample_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    number: int,
    batch_size: int,
    after_token: Callable[[], None] = lambda: None,
) -> list[Document]:
    """Batch `number`: the same texts whenever it is sampled."""
    rng = random.Random(number)
    genres, openings = zip(*(random_opening(rng) for _ in range(batch_size)))
    banned = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    choose = sampler(sorted(banned.union(tokenizer.all_special_ids)), number, model.device)
    ids = continue_prompts(model, token_ids(openings, tokenizer), NEW_TOKENS, choose, after_token)
    texts = tokenizer.batch_decode(ids, clean_up_tokenization_spaces=False)
    return [Document(genre, text) for genre, text in zip(genres, texts)]


def take_head_start(path: Path, work: Path) -> None:
    """Put another run's samples into the work folder, as the first documents. Raises ValueError if they aren't any."""
    try:
        content = path.read_bytes()
        documents = read_documents(gzip.decompress(content))
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise ValueError(
            f'{path} is no head start ({error}): give a .jsonl.gz file with {{"genre", "text"}} lines.'
        ) from error
    present = work / HEAD_START
    if present.exists() and present.read_bytes() != content:
        raise ValueError(f"{work} was begun with another head start: give that one, or another work folder.")
    if not documents:
        raise ValueError(f"{path} is empty: leave --head-start out, or give a file with documents.")
    write_atomically(present, content)


def sampling_settings(batch_size: int) -> dict:
    """What the texts of a batch depend on, besides its number."""
    openings = json.dumps([OPENINGS, FILLERS]).encode("utf-8")
    return {
        "new_tokens": NEW_TOKENS,
        "temperature": TEMPERATURE,
        "top_k": TOP_K,
        "batch_size": batch_size,
        "openings_sha256": hashlib.sha256(openings).hexdigest(),
    }


def check_settings(work: Path, settings: dict) -> None:
    """Write down how the batches in the work folder are sampled. Raises ValueError if it was begun in another way."""
    file = work / "settings.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else settings
    if before != settings:
        changed = ", ".join(f"{key} {before.get(key)!r}" for key in settings if before.get(key) != settings[key])
        raise ValueError(f"{work} was begun with {changed}: go on like that, or move that folder away.")
    write_atomically(file, json.dumps(settings, indent=1) + "\n")


def batch_file(work: Path, number: int) -> Path:
    return work / f"batch-{number:05}.jsonl"


def sampled(work: Path) -> list[Document]:
    """Everything in the work folder: the head start, then the batches by number; each text once."""
    head_start = work / HEAD_START
    parts = [read_documents(gzip.decompress(head_start.read_bytes()))] if head_start.exists() else []
    parts += [read_documents(path.read_bytes()) for path in sorted(work.glob("batch-*.jsonl"))]
    return list({document.text: document for part in parts for document in part}.values())


def n_tokens(documents: list[Document], tokenizer: PreTrainedTokenizerBase) -> int:
    return sum(map(len, token_ids((document.text for document in documents), tokenizer)))


def sample(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, work: Path, tokens: int, batch_size: int
) -> None:
    """Add the missing batches, from 1 up, until the work folder holds `tokens` tokens."""
    done, number = n_tokens(sampled(work), tokenizer), 0
    started, before = time.monotonic(), done
    with tqdm(total=tokens, initial=done, unit="tok", unit_scale=True, disable=not sys.stderr.isatty()) as bar:
        while done < tokens:
            number += 1
            if batch_file(work, number).exists():
                continue
            documents = sample_batch(model, tokenizer, number, batch_size, lambda: bar.update(batch_size))
            write_atomically(batch_file(work, number), documents_as_bytes(documents))
            done += n_tokens(documents, tokenizer)
            bar.n = min(done, tokens)
            bar.refresh()
            if bar.disable:
                speed = (done - before) / (time.monotonic() - started)
                left = max(0, tokens - done) / speed / 60
                line = f"batch {number}: {done:,} of {tokens:,} tokens, {speed:.0f} a second, {left:.0f} minutes left"
                print(line, flush=True)


def finish(work: Path, corpus: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Pack what the work folder holds into `corpus`, and where it comes from into corpus.json beside it.

    The same work folder gives the same bytes. Raises ValueError if it holds nothing.
    """
    documents, settings = sampled(work), work / "settings.json"
    if not documents or not settings.exists():
        raise ValueError(f"There are no samples in {work}: run this without --finish first.")
    lines = documents_as_bytes(documents)
    packed = lzma.compress(lines, preset=9 | lzma.PRESET_EXTREME)  # smaller than gzip's and bzip2's
    by_genre = {genre: [d for d in documents if d.genre == genre] for genre in sorted({d.genre for d in documents})}
    provenance = {
        "command": "python -m scripts.sample_corpus, then the same with --finish",
        "model": f"{SOURCE.gguf}, dequantised to float32",
        "source": SOURCE.requirement,
        "gguf_sha256": SOURCE.gguf_sha256,
        "licence": LICENCE,
        "settings": json.loads(settings.read_text(encoding="utf-8")),
        "head_start": head_start_provenance(work, tokenizer),
        **size(documents, tokenizer),
        "genres": {genre: size(part, tokenizer) for genre, part in by_genre.items()},
        "sha256": hashlib.sha256(packed).hexdigest(),
        "sha256_unpacked": hashlib.sha256(lines).hexdigest(),  # another liblzma may pack differently
    }
    write_atomically(corpus, packed)
    write_atomically(corpus.with_name("corpus.json"), json.dumps(provenance, indent=1) + "\n")


def head_start_provenance(work: Path, tokenizer: PreTrainedTokenizerBase) -> dict | None:
    """What was taken over from another run: the first documents of the corpus."""
    if not (work / HEAD_START).exists():
        return None
    content = (work / HEAD_START).read_bytes()
    documents = read_documents(gzip.decompress(content))
    return {**size(documents, tokenizer), "sha256": hashlib.sha256(content).hexdigest()}


def size(documents: list[Document], tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    return {"documents": len(documents), "tokens": n_tokens(documents, tokenizer)}


def at_least_one(text: str) -> int:
    """A number on the command line. Raises ArgumentTypeError below 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.sample_corpus", description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=at_least_one, default=2_100_000, help="how many in all (default: %(default)s)")
    parser.add_argument("--batch-size", type=at_least_one, default=BATCH_SIZE, help="texts at a time (%(default)s)")
    parser.add_argument("--threads", type=at_least_one, default=1, help="of the CPU (%(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(%(default)s)")
    parser.add_argument("--head-start", type=Path, metavar="PATH", help="a .jsonl.gz of samples to begin with")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where batches collect (outputs/corpus)")
    parser.add_argument("--finish", action="store_true", help=f"pack the batches into data/{CORPUS_FILE.name}")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    work = options.work or outputs_folder("corpus")
    try:
        folder = prepare_embedded_model()
        with quiet_libraries():
            tokenizer = AutoTokenizer.from_pretrained(folder)
        if options.finish:
            finish(work, CORPUS_FILE, tokenizer)
            print(f"{CORPUS_FILE}: {CORPUS_FILE.stat().st_size / 1e6:.2f} MB")
            return 0
        if options.head_start:
            take_head_start(options.head_start, work)
        check_settings(work, sampling_settings(options.batch_size))
        with quiet_libraries():
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        sample(model.to(options.device).eval(), tokenizer, work, options.tokens, options.batch_size)
    except (ModelUnavailable, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; the finished batches are kept, so run this again to go on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
